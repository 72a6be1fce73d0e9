{#- A source's column as a whole number, or NULL where it is none: a bare try_cast makes the key 6 of the text 5.7. -#}
{% macro whole_number(column, type='bigint') %}
    case when try_cast({{ column }} as decimal(38, 18)) = try_cast({{ column }} as {{ type }}) then try_cast({{ column }} as {{ type }}) end
{%- endmacro %}
