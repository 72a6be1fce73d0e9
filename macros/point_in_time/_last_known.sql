{#- The last non-NULL value of an expression over a window; engines disagree on where `ignore nulls` stands. -#}
{% macro _last_known(expression, over, ignore) -%}
    {%- if ignore == 'inside' -%}
        last_value({{ expression }} ignore nulls) {{ over }}
    {%- else -%}
        last_value({{ expression }}) ignore nulls {{ over }}
    {%- endif -%}
{%- endmacro %}
