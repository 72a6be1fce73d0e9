{#- A spine that stops the query at a NULL time or key (rule 15), where the engine raises an error by `fail`: the SQL of
    a failing BOOLEAN around a text, `{}`. Plain Jinja. -#}
{% macro _checked_spine(relation, time, keys, engine) -%}
    select * from {{ relation }} as given
    where true
        {%- for column in [time] + keys %}
        and case
            when {{ featmill._quoted(column, engine) }} is null then {{ engine['fail'] | replace('{}', featmill._escaped_literal(featmill._literal('the spine has NULLs in ' ~ column ~ ': every row needs a time and its keys'), engine['apostrophe'])) }}
            else true
        end
        {%- endfor %}
{%- endmacro %}
