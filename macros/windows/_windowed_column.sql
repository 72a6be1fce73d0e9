{#- One declared column as SQL: its aggregate over its window, its default, its contract type. -#}
{% macro _windowed_column(feature, table, event_at, as_of, order_by) %}
    {%- set filter = featmill._window_filter(feature, table, event_at, as_of) -%}
    {%- set sql = featmill._aggregate(feature, filter, order_by, as_of) -%}
    {{ return(featmill._finished_column(feature, sql)) }}
{% endmacro %}
