{#- What this run keeps under a name, or none. -#}
{% macro _pinned(name) %}
    {%- set text = run_query("select featmill_pinned('" ~ invocation_id ~ ":" ~ name ~ "')").columns[0].values()[0] -%}
    {{ return(fromjson(text) if text else none) }}
{% endmacro %}
