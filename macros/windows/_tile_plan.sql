{#- What the tiles of a feature table hold, from its declaration: told alike to the model that makes them and to the windows
    that read them.

    Returns a dict:
    width: microseconds. keys, event_at, ingested_at: as SQL. order_by: the row of rule 8. start: the tile of an event.
    states: each distinct state once, a list of {column, of, merge, settle, end}: `of` with its FILTER; `end` is first or
      last where of two tiles the earlier or the later one decides, whatever the state holds.
    features: {feature: {state: column}}, of those that are tiled.
    hashed: SQL of a hash of everything of an event that a state can see. Only an order sees the event's id.
    definition: a digest of all this. -#}
{% macro _tile_plan(table, features, event_at, ingested_at, event_id) %}
    {%- set width = featmill._tile_width(table, features) -%}
    {%- set happened, known, id = featmill._quoted(event_at), featmill._quoted(ingested_at), featmill._quoted(event_id) -%}
    {%- set order_by = "(" ~ happened ~ ", " ~ known ~ ", " ~ id ~ ")" -%}
    {%- set keys = [] -%}
    {%- for key in table.join_keys -%}{%- do keys.append(featmill._quoted(key)) -%}{%- endfor -%}
    {%- set states = {} -%}
    {%- set of_feature = {} -%}
    {%- set hashed = keys + [happened, known] -%}
    {%- for feature in features if featmill._is_tiled(feature) -%}
        {%- set plan = featmill._aggregate_plan(feature, order_by, 'null') -%}
        {%- set conditions = [] -%}
        {%- if plan.where -%}{%- do conditions.append("(" ~ plan.where ~ ")") -%}{%- endif -%}
        {%- if feature.get('where') -%}{%- do conditions.append("(" ~ feature.where ~ ")") -%}{%- endif -%}
        {%- set named = {} -%}
        {%- for state in plan.states -%}
            {%- set text = state.of ~ (" filter (where " ~ conditions | join(' and ') ~ ")" if conditions else "") -%}
            {%- if text not in states -%}
                {%- do states.update({text: {
                    'column': 's' ~ (states | length + 1), 'of': text, 'merge': state.merge, 'settle': state.settle,
                    'end': feature.aggregate if feature.aggregate in ['first', 'last'] else none,
                }}) -%}
            {%- endif -%}
            {%- do named.update({state.name: states[text].column}) -%}
        {%- endfor -%}
        {%- do of_feature.update({feature.name: named}) -%}
        {%- set seen = [feature.get('value'), feature.get('of'), feature.get('where')] -%}
        {%- if feature.aggregate in ['first', 'last', 'last_n'] -%}{%- do seen.append(id) -%}{%- endif -%}
        {%- for text in seen if text and text not in hashed -%}{%- do hashed.append(text) -%}{%- endfor -%}
    {%- endfor -%}
    {{ return({
        'width': width, 'keys': keys, 'event_at': happened, 'ingested_at': known, 'order_by': order_by,
        'start': featmill._tile_start(happened, width),
        'states': states.values() | list,
        'features': of_feature,
        'hashed': "hash(" ~ hashed | join(', ') ~ ")",
        'definition': local_md5(tojson([keys, width, order_by, states.values() | list, hashed])),
    }) }}
{% endmacro %}
