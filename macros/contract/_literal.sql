{#- A declared default as an SQL literal: numbers and booleans as they are, anything else as text. -#}
{% macro _literal(value) %}
    {%- if value is none -%}{{ return('null') }}{%- endif -%}
    {%- if value is boolean -%}{{ return('true' if value else 'false') }}{%- endif -%}
    {%- if value is number -%}{{ return(value | string) }}{%- endif -%}
    {{ return("'" ~ (value | string | replace("'", "''")) ~ "'") }}
{% endmacro %}
