{#- What the plug-in needs to publish one feature table: names and declarations from the graph, and this run's moments. -#}
{% macro _publish_order(node, candidate, sql) %}
    {%- set moments = featmill._run_moments() -%}
    {%- set declared = featmill._feature_table(candidate) -%}
    {%- set sources = [] -%}
    {%- for unique_id in featmill._ancestors(node) if unique_id in graph.sources -%}
        {%- set source = graph.sources[unique_id] -%}
        {%- do sources.append({
            'name': source.source_name ~ '.' ~ source.name, 'relation': source.relation_name,
            'loaded_at': source.loaded_at_field,
        }) -%}
    {%- endfor -%}
    {{ return({
        'table': node.name, 'publish_node': node.unique_id, 'candidate': candidate.unique_id, 'sql': sql,
        'as_of': moments.as_of, 'cut_off': moments.cut_off, 'invocation_id': invocation_id,
        'join_keys': declared.join_keys, 'tenant': (candidate.config.meta or {}).get('tenant', 'default'),
        'version': (candidate.version or 1) | string, 'sources': sources,
    }) }}
{% endmacro %}
