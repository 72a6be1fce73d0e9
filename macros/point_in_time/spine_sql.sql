{#- A spine that stops the query at a NULL time or key (rule 15), naming the column, and at a key of another kind than the
    contract's (rule 16), naming both types. types: the declared data_type of keys. Plain Jinja. -#}
{% macro spine_sql(relation, time, keys, types={}) -%}
    select * from {{ relation }}
    where true
        {%- for column in [time] + keys %}
        and case
            when {{ featmill._quoted(column) }} is null
                then error({{ featmill._literal('the spine has NULLs in ' ~ column ~ ': every row needs a time and its keys') }})::boolean
            else true
        end
        {%- endfor %}
        {%- for key in keys if key in types %}
        and {{ featmill._same_key_family(key, types[key], 'the spine') }}
        {%- endfor %}
{%- endmacro %}
