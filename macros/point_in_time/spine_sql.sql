{#- A spine that stops the query at a NULL time or key (rule 15), naming the column. Plain Jinja. -#}
{% macro spine_sql(relation, time, keys) -%}
    select * from {{ relation }}
    where true
        {%- for column in [time] + keys %}
        and case
            when {{ featmill._quoted(column) }} is null
                then error({{ featmill._literal('the spine has NULLs in ' ~ column ~ ': every row needs a time and its keys') }})::boolean
            else true
        end
        {%- endfor %}
{%- endmacro %}
