{#- The first moment a window covers at `moment`: floor(moment - delay - window, hop) (rule 4), as an SQL expression.

    moment: SQL timestamp, UTC. window, delay: durations such as 7d. hop: `exact` or a duration that divides the day;
    buckets are aligned to the Unix epoch (rule 7). -#}
{% macro window_start(moment, window, hop='exact', delay='0s') %}
    {%- set back = featmill._microseconds(window) + featmill._microseconds(delay) -%}
    {%- set start = "(" ~ moment ~ " - to_microseconds(" ~ back ~ "))" -%}
    {%- if hop == 'exact' -%}{{ return(start) }}{%- endif -%}
    {%- set step = featmill._microseconds(hop) -%}
    {%- if step == 0 or 86400000000 % step != 0 -%}
        {{ exceptions.raise_compiler_error("a hop is exact or a duration that divides the day, got: " ~ hop) }}
    {%- endif -%}
    {{ return("time_bucket(to_microseconds(" ~ step ~ "), " ~ start ~ ", timestamp '1970-01-01 00:00:00')") }}
{% endmacro %}
