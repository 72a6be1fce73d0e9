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
    {%- set of_table = [] -%}
    {%- for column in candidate.columns.values() if column.name not in table.join_keys and column.name != candidate.config.event_time -%}
        {%- do of_table.append(column.name) -%}
    {%- endfor -%}
    {%- set features = [] -%}
    {%- for name in wanted or of_table -%}
        {%- if name not in of_table -%}
            {{ exceptions.raise_compiler_error(
                nodes[0].name ~ " has no feature " ~ name ~ "; it has: " ~ (of_table | join(', '))
            ) }}
        {%- endif -%}
        {%- set declared = ((candidate.columns[name].config or {}).get('meta') or {}).get('feature') or {} -%}
        {%- do features.append({
            'name': name, 'ignore_nulls': declared.get('ignore_nulls', false),
            'default_sql': featmill._literal(declared.get('default')),
        }) -%}
    {%- endfor -%}
    {%- set ttl = table.get('ttl') -%}
    {#- A snapshot's id begins with its as_of; of what it was made only its rows' published_at tells here. -#}
    {%- set as_of = "strptime(split_part(snapshot_id, '-', 1), ['%Y%m%dT%H%M%SZ', '%Y%m%dT%H%M%S.%fZ'])" -%}
    {%- set held = {
        'relation': relation, 'keys': table.join_keys,
        'snapshots_sql': "(select snapshot_id, timezone('UTC', " ~ as_of ~ ") as as_of, max(published_at) as known from "
            ~ relation ~ " group by snapshot_id)",
    } -%}
    {{ return({
        'name': nodes[0].name, 'relation': relation, 'keys': table.join_keys, 'key_types': featmill._key_types(candidate, table.join_keys), 'event_time': candidate.config.event_time,
        'gone': '(' ~ featmill.absences_sql(held) ~ ')',
        'ttl_us': featmill._microseconds(ttl) if ttl and ttl != 'none' else none, 'features': features,
    }) }}
{% endmacro %}
