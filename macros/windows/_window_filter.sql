{#- The condition on event rows of one declared column: its window or calendar, and its `where` (rule 4). -#}
{% macro _window_filter(feature, table, event_at, moment) %}
    {%- set name = feature.get('name') or 'a feature' -%}
    {%- set delay = feature.get('delay') or table.get('delay') or '0s' -%}
    {%- if (feature.get('window') is none) == (feature.get('calendar') is none) -%}
        {{ exceptions.raise_compiler_error(name ~ ": an aggregate has a window or a calendar, one of the two") }}
    {%- endif -%}
    {%- if feature.get('calendar') -%}
        {%- if not feature.get('zone') -%}
            {{ exceptions.raise_compiler_error(name ~ ": a calendar needs its zone (meta.feature.zone: Europe/London)") }}
        {%- endif -%}
        {%- set filter = featmill.in_calendar(event_at, moment, feature.calendar, feature.zone, delay) -%}
    {%- else -%}
        {%- set hop = feature.get('hop') or table.get('hop') or 'exact' -%}
        {%- set filter = featmill.in_window(event_at, moment, feature.window, hop, delay) -%}
    {%- endif -%}
    {{ return(filter ~ (" and (" ~ feature.where ~ ")" if feature.get('where') else "")) }}
{% endmacro %}
