{#- True where `event_at` lies in the window at `moment`: floor(moment - window, hop) <= event_at < moment (rule 4).

    The right edge is strict and nothing switches that. `window` is a duration or `lifetime`. -#}
{% macro in_window(event_at, moment, window, hop='exact', delay='0s') %}
    {%- set ends -%}
        {{ event_at }} < {{ moment }}{% if featmill._microseconds(delay) > 0 %} - to_microseconds({{ featmill._microseconds(delay) }}){% endif %}
    {%- endset -%}
    {%- if window == 'lifetime' -%}{{ return("(" ~ ends ~ ")") }}{%- endif -%}
    {{ return("(" ~ event_at ~ " >= " ~ featmill.window_start(moment, window, hop, delay) ~ " and " ~ ends ~ ")") }}
{% endmacro %}
