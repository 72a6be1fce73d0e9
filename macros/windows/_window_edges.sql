{#- The first moment that a declared column's window covers and the first it does not, as SQL (rule 4); the start of a lifetime is
    none. -#}
{% macro _window_edges(feature, table, moment) %}
    {%- set delay = feature.get('delay') or table.get('delay') or '0s' -%}
    {%- set back = featmill._microseconds(delay) -%}
    {%- set end = moment ~ (" - to_microseconds(" ~ back ~ ")" if back > 0 else "") -%}
    {%- if feature.get('calendar') -%}
        {{ return([featmill.calendar_start(moment, feature.calendar, feature.zone, delay), end]) }}
    {%- endif -%}
    {%- if feature.window == 'lifetime' -%}{{ return([none, end]) }}{%- endif -%}
    {%- set hop = feature.get('hop') or table.get('hop') or 'exact' -%}
    {{ return([featmill.window_start(moment, feature.window, hop, delay), end]) }}
{% endmacro %}
