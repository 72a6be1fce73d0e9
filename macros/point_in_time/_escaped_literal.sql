{#- A literal as DuckDB writes it, for engines in which a backslash escapes; apostrophe: how they write one in a text. -#}
{% macro _escaped_literal(sql, apostrophe) -%}
    {%- if sql[:1] == "'" -%}
        '{{ sql[1:-1] | replace("\\", "\\\\") | replace("''", apostrophe) }}'
    {%- else -%}
        {{ sql }}
    {%- endif -%}
{%- endmacro %}
