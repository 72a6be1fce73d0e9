{#- The columns of a feature table whose meta.feature declares an aggregate, each with its name and type. -#}
{% macro _declared_windows(node) %}
    {%- set found = [] -%}
    {%- for column in node.columns.values() -%}
        {%- set feature = ((column.config or {}).get('meta') or {}).get('feature') or {} -%}
        {%- if feature.get('aggregate') -%}
            {%- do found.append(dict(feature, name=column.name, data_type=column.data_type)) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}
