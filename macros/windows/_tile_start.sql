{#- The start of the tile that holds a moment, as SQL: tiles of `width` microseconds, aligned to the Unix epoch in UTC (rule 7). -#}
{% macro _tile_start(moment, width) %}
    {{ return("time_bucket(to_microseconds(" ~ width ~ "), " ~ moment ~ ", timestamp '1970-01-01 00:00:00')") }}
{% endmacro %}
