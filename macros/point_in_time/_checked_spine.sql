{#- A spine that stops the query at a NULL time or key (rule 15), where the engine raises an error by `fail`: the SQL of
    a failing BOOLEAN around a text, `{}`. Plain Jinja. -#}
{% macro _checked_spine(relation, time, keys, fail) -%}
    select * from {{ relation }} as given
    where true
        {%- for column in [time] + keys %}
        and case
            when {{ column }} is null then {{ fail | replace('{}', "'the spine has NULLs in " ~ column ~ ": every row needs a time and its keys'") }}
            else true
        end
        {%- endfor %}
{%- endmacro %}
