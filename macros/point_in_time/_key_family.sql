{#- The family of a type's name as DuckDB's typeof gives it, as SQL: within one, keys are compared without converting what
    they say. The same families as `featmill train` has. Plain Jinja. -#}
{% macro _key_family(type_name) -%}
    case
        when regexp_full_match({{ type_name }}, 'U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)') then 'integer'
        when regexp_full_match({{ type_name }}, 'VARCHAR|UUID|ENUM.*') then 'text'
        else {{ type_name }}
    end
{%- endmacro %}
