{#- The first instant of the local day, ISO week or month that holds `moment - delay`, as an SQL expression in UTC.

    Where the clocks skip local midnight the day begins at the first instant there is; where they repeat it, at the
    first of the two. DuckDB takes the second, so the hours before are asked what midnight would be by their offset. -#}
{% macro calendar_start(moment, calendar, zone, delay='0s') %}
    {%- if calendar not in ['day', 'week', 'month'] -%}
        {{ exceptions.raise_compiler_error("a calendar is one of day, week, month, got: " ~ calendar) }}
    {%- endif -%}
    {%- set at_zone = featmill._literal(zone) -%}
    {%- set local = "timezone(" ~ at_zone ~ ", timezone('UTC', %s))" -%}
    {%- set back = featmill._microseconds(delay) -%}
    {%- set held = moment ~ (" - to_microseconds(" ~ back ~ ")" if back > 0 else "") -%}
    {%- set midnight = "date_trunc('" ~ calendar ~ "', " ~ (local | replace('%s', held)) ~ ")" -%}
    {%- set last = "timezone('UTC', timezone(" ~ at_zone ~ ", " ~ midnight ~ "))" -%}
    {%- set before = last ~ " - to_hours(3)" -%}
    {%- set first = "(" ~ before ~ " + (" ~ midnight ~ " - " ~ (local | replace('%s', before)) ~ "))" -%}
    {{ return("least(" ~ last ~ ", case when " ~ (local | replace('%s', first)) ~ " >= " ~ midnight ~ " then " ~ first ~ " end)") }}
{% endmacro %}
