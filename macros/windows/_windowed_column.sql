{#- One declared column as SQL: its aggregate over its window, its default, its contract type. -#}
{% macro _windowed_column(feature, table, event_at, as_of, order_by) %}
    {%- set filter = featmill._window_filter(feature, table, event_at, as_of) -%}
    {%- set sql = featmill._aggregate(feature, filter, order_by, as_of) -%}
    {%- if feature.get('default') is not none -%}
        {%- set sql = "coalesce(" ~ sql ~ ", " ~ featmill._literal(feature.default) ~ ")" -%}
    {%- endif -%}
    {{ return("cast(" ~ sql ~ " as " ~ feature.data_type ~ ")") }}
{% endmacro %}
