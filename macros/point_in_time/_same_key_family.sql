{#- A condition of a query over a key column that is true, or stops the query naming both types where the contract's is of
    another family (rule 16). DuckDB would convert one of them in silence. Plain Jinja.

    declared: the key's data_type. whose: what holds the column, for the message. -#}
{% macro _same_key_family(key, declared, whose) -%}
    {%- set given = 'typeof(' ~ featmill._quoted(key) ~ ')' -%}
    {%- set wanted = 'typeof(cast(null as ' ~ declared ~ '))' -%}
    case
        when {{ featmill._key_family(given) }} <> {{ featmill._key_family(wanted) }}
            then error({{ featmill._literal("the key " ~ key ~ " of " ~ whose ~ " is ") }} || {{ given }} || {{ featmill._literal(", the contract says ") }} || {{ wanted }} || {{ featmill._literal(": cast it in " ~ whose ~ "; a key is never converted in silence (rule 16)") }})::boolean
        else true
    end
{%- endmacro %}
