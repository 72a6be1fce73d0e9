{#- Keep a value under a name for the rest of this run; the first one kept stays. -#}
{% macro _pin(name, value) %}
    {%- set text = tojson(value) | replace("'", "''") -%}
    {%- do run_query("select featmill_pin('" ~ invocation_id ~ ":" ~ name ~ "', '" ~ text ~ "')") -%}
{% endmacro %}
