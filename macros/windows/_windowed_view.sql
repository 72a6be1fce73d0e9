{#- What windows_at needs of a published table, from its feature table's declaration. -#}
{% macro _windowed_view(relation, wanted) %}
    {%- set nodes = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.relation_name == relation | string -%}
        {%- do nodes.append(node) -%}
    {%- endfor -%}
    {%- if not nodes or nodes[0].config.materialized != 'published' -%}
        {{ exceptions.raise_compiler_error("windows_at takes the windows of a published table, got: " ~ relation) }}
    {%- endif -%}
    {%- set candidate = featmill._candidate(nodes[0]) -%}
    {%- set declared = featmill._declared_windows(candidate) -%}
    {%- set found = [] -%}
    {%- for feature in declared if wanted is none or feature.name in wanted -%}{%- do found.append(feature) -%}{%- endfor -%}
    {%- set names = declared | map(attribute='name') | list -%}
    {%- for name in wanted or [] if name not in names -%}
        {{ exceptions.raise_compiler_error(
            nodes[0].name ~ " declares no window " ~ name ~ "; it declares: " ~ (names | join(', ') or 'none')
        ) }}
    {%- endfor -%}
    {%- if not found -%}
        {{ exceptions.raise_compiler_error(nodes[0].name ~ " declares no windows (meta.feature.aggregate)") }}
    {%- endif -%}
    {%- set table = featmill._feature_table(candidate) -%}
    {{ return({
        'name': nodes[0].name, 'keys': table.join_keys, 'key_types': featmill._key_types(candidate, table.join_keys), 'hop': table.get('hop'), 'delay': table.get('delay'), 'features': found,
    }) }}
{% endmacro %}
