{#- The graph's node of the feature table that a publish node publishes. -#}
{% macro _candidate(node) %}
    {%- set found = [] -%}
    {%- for unique_id in node.depends_on.nodes if unique_id in graph.nodes -%}
        {%- if featmill._feature_table(graph.nodes[unique_id]) -%}
            {%- do found.append(graph.nodes[unique_id]) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if not found -%}
        {{ exceptions.raise_compiler_error(
            node.name ~ " publishes nothing: the model it refers to has no config.meta.feature_table"
        ) }}
    {%- endif -%}
    {{ return(found[0]) }}
{% endmacro %}
