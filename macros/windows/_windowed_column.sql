{#- One declared column as SQL: its aggregate over its window, its default, its contract type. -#}
{% macro _windowed_column(feature, table, event_at, as_of, order_by) %}
    {%- set hop = feature.get('hop') or table.get('hop') or 'exact' -%}
    {%- set delay = feature.get('delay') or table.get('delay') or '0s' -%}
    {%- set filter = featmill.in_window(event_at, as_of, feature.window, hop, delay) -%}
    {%- if feature.get('where') -%}{%- set filter = filter ~ " and (" ~ feature.where ~ ")" -%}{%- endif -%}
    {%- set sql = featmill._aggregate(feature, filter, order_by, as_of) -%}
    {%- if feature.get('default') is not none -%}
        {%- set sql = "coalesce(" ~ sql ~ ", " ~ featmill._literal(feature.default) ~ ")" -%}
    {%- endif -%}
    {{ return("cast(" ~ sql ~ " as " ~ feature.data_type ~ ")") }}
{% endmacro %}
