{#- True where `event_at` lies in the local day, ISO week or month so far: calendar_start <= event_at < moment - delay.

    The right edge is strict, as in every window (rule 4). -#}
{% macro in_calendar(event_at, moment, calendar, zone, delay='0s') %}
    {{ return(
        "(" ~ event_at ~ " >= " ~ featmill.calendar_start(moment, calendar, zone, delay)
        ~ " and " ~ featmill.in_window(event_at, moment, 'lifetime', 'exact', delay) ~ ")"
    ) }}
{% endmacro %}
