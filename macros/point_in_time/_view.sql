{#- What point_in_time needs of a published table, from its feature table's declaration. -#}
{% macro _view(relation, wanted) %}
    {%- set nodes = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.relation_name == relation | string -%}
        {%- do nodes.append(node) -%}
    {%- endfor -%}
    {%- if not nodes or nodes[0].config.materialized != 'published' -%}
        {{ exceptions.raise_compiler_error("point_in_time reads published tables, got: " ~ relation) }}
    {%- endif -%}
    {%- set candidate = featmill._candidate(nodes[0]) -%}
    {%- set table = featmill._feature_table(candidate) -%}
    {%- set features = [] -%}
    {%- for column in candidate.columns.values() if column.name not in table.join_keys and column.name != candidate.config.event_time -%}
        {%- if not wanted or column.name in wanted -%}
            {%- set declared = ((column.config or {}).get('meta') or {}).get('feature') or {} -%}
            {%- do features.append({
                'name': column.name, 'ignore_nulls': declared.get('ignore_nulls', false),
                'default_sql': featmill._literal(declared.get('default')),
            }) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for name in wanted or [] if name not in features | map(attribute='name') | list -%}
        {{ exceptions.raise_compiler_error(nodes[0].name ~ " has no feature " ~ name) }}
    {%- endfor -%}
    {%- set ttl = table.get('ttl') -%}
    {{ return({
        'name': nodes[0].name, 'relation': relation, 'keys': table.join_keys, 'event_time': candidate.config.event_time,
        'ttl_us': featmill._microseconds(ttl) if ttl and ttl != 'none' else none, 'features': features,
    }) }}
{% endmacro %}
