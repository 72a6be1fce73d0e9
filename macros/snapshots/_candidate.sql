{#- The graph's node of the feature table that a publish node publishes: its one parent that is a feature table; where
    it waits for others too, the one it is named for. -#}
{% macro _candidate(node) %}
    {%- set found = [] -%}
    {%- set named = [] -%}
    {%- for unique_id in node.depends_on.nodes if unique_id in graph.nodes -%}
        {%- set parent = graph.nodes[unique_id] -%}
        {%- if featmill._feature_table(parent) -%}
            {%- do found.append(parent) -%}
            {%- if parent.name == 'feat_' ~ node.name -%}{%- do named.append(parent) -%}{%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set chosen = named or found -%}
    {%- if chosen | length != 1 -%}
        {{ exceptions.raise_compiler_error(
            node.name ~ " must refer to one feature table (config.meta.feature_table), or be named for one of several; "
            ~ "it refers to: " ~ (found | map(attribute='name') | join(', ') or 'none')
        ) }}
    {%- endif -%}
    {{ return(chosen[0]) }}
{% endmacro %}
