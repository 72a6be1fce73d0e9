{#- A condition that holds where another does, and stops the query at an event without its id: copies of it cannot be told
    (rule 8). Plain SQL text; `condition` reads an aggregate or a window, so that the engine asks this of no row that a
    query below refuses. event_id: column names, separated by commas. -#}
{% macro _with_id(event_id, condition) -%}
    {%- set parts = [] -%}
    {%- for part in event_id.split(',') -%}{%- do parts.append(part.strip()) -%}{%- endfor -%}
    case
        {%- for part in parts %}
        when {{ part }} is null
            then error({{ featmill._literal("events without their " ~ part ~ ", which tells them apart (rule 8): refuse such rows, by featmill.refusal(keys=['" ~ part ~ "'])") }})::boolean
        {%- endfor %}
        else {{ condition }}
    end
{%- endmacro %}
