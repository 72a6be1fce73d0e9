{#- What the tiles of a feature table hold, from its declaration: told alike to the model that makes them and to the windows
    that read them.

    Returns a dict:
    width: microseconds. start: the tile of an event, as SQL. order_by: the row of rule 8. event_at, ingested_at: as SQL.
    columns: {aggregate call with its FILTER: the name of its column}, each distinct state once.
    features: {feature: {state: column}}. keys: the join keys.
    hashed: SQL of a hash of everything of an event that a state can see.
    definition: a digest of all this. -#}
{% macro _tile_plan(table, features, event_at, ingested_at, event_id) %}
    {%- set width = featmill._tile_width(table, features) -%}
    {%- set happened, known, id = featmill._quoted(event_at), featmill._quoted(ingested_at), featmill._quoted(event_id) -%}
    {%- set order_by = "(" ~ happened ~ ", " ~ known ~ ", " ~ id ~ ")" -%}
    {%- set keys = [] -%}
    {%- for key in table.join_keys -%}{%- do keys.append(featmill._quoted(key)) -%}{%- endfor -%}
    {%- set columns = {} -%}
    {%- set of_feature = {} -%}
    {%- set hashed = keys + [happened, known, id] -%}
    {%- for feature in features -%}
        {%- set plan = featmill._aggregate_plan(feature, order_by, 'null') -%}
        {%- set conditions = [] -%}
        {%- if plan.where -%}{%- do conditions.append("(" ~ plan.where ~ ")") -%}{%- endif -%}
        {%- if feature.get('where') -%}{%- do conditions.append("(" ~ feature.where ~ ")") -%}{%- endif -%}
        {%- set named = {} -%}
        {%- for state in plan.states -%}
            {%- set text = state.of ~ (" filter (where " ~ conditions | join(' and ') ~ ")" if conditions else "") -%}
            {%- if text not in columns -%}{%- do columns.update({text: 's' ~ (columns | length + 1)}) -%}{%- endif -%}
            {%- do named.update({state.name: columns[text]}) -%}
        {%- endfor -%}
        {%- do of_feature.update({feature.name: named}) -%}
        {%- for key in ['value', 'of', 'where'] if feature.get(key) and feature[key] not in hashed -%}
            {%- do hashed.append(feature[key]) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- set said = [keys, width, order_by, columns, hashed] -%}
    {{ return({
        'width': width,
        'event_at': happened,
        'ingested_at': known,
        'start': featmill._tile_start(happened, width),
        'order_by': order_by,
        'columns': columns,
        'features': of_feature,
        'keys': keys,
        'hashed': "hash(" ~ hashed | join(', ') ~ ")",
        'definition': local_md5(tojson(said)),
    }) }}
{% endmacro %}
