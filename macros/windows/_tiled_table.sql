{#- The graph's node of the feature table whose aggregates a model of tiles holds: the one that refers to the model. -#}
{% macro _tiled_table() %}
    {%- set found = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and model.unique_id in node.depends_on.nodes -%}
        {%- if featmill._feature_table(node) -%}{%- do found.append(node) -%}{%- endif -%}
    {%- endfor -%}
    {%- if found | length != 1 -%}
        {{ exceptions.raise_compiler_error(
            model.name ~ " holds the tiles of one feature table, which passes it on: featmill.windows(ref(...), tiles=ref('"
            ~ model.name ~ "')); feature tables that refer to it: " ~ (found | map(attribute='name') | join(', ') or 'none')
        ) }}
    {%- endif -%}
    {{ return(found[0]) }}
{% endmacro %}
