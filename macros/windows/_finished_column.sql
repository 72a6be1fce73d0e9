{#- A declared column's value with its default, as its contract type. -#}
{% macro _finished_column(feature, sql) %}
    {%- if feature.get('default') is not none -%}
        {%- set sql = "coalesce(" ~ sql ~ ", " ~ featmill._literal(feature.default) ~ ")" -%}
    {%- endif -%}
    {{ return("cast(" ~ sql ~ " as " ~ feature.data_type ~ ")") }}
{% endmacro %}
