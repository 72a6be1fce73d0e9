{#- A column's name as an SQL identifier, so that one called `order` is a name and not a keyword. -#}
{% macro _quoted(name) %}
    {{ return('"' ~ (name | string | replace('"', '""')) ~ '"') }}
{% endmacro %}
