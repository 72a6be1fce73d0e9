{#- True where a source's column holds a time that does not say its zone: a text without an offset, a plain TIMESTAMP. -#}
{% macro without_zone(column) %}
    (try_cast({{ column }} as timestamp) is not null and not {{ featmill._says_zone(column) }})
{%- endmacro %}
