{#- True where a time says its zone: a TIMESTAMPTZ does, and a text that ends in Z, UTC or an offset such as +01:00. -#}
{% macro _says_zone(column) %}
    regexp_matches(trim(cast({{ column }} as varchar)), ':[0-9]{2}(\.[0-9]+)? ?([Zz]|UTC|[+-][0-9]{2}(:?[0-9]{2})?)$')
{%- endmacro %}
