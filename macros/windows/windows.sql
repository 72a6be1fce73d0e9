{#- A feature table's windowed columns at this run's as_of, from what its yml declares (rules 4 to 7 and 20).

    One row per entity with an event before as_of: the join keys, the event time, and a column for each `columns` entry
    with `meta.feature.aggregate`. `events` is a relation of accepted, de-duplicated events with the join keys.

    events: ref() of the events. entities: ref() of a declared entity model, whose rows are then the entities.
    event_at, ingested_at, event_id: the columns that give the total order of rule 8.
    tiles: ref() of a model of featmill.tiles over the same events: the same values for less work. A unit test does without. -#}
{% macro windows(events, entities=none, event_at='event_at', ingested_at='ingested_at', event_id='event_id', tiles=none) %}
    {%- if not execute -%}
        {%- do featmill.as_of() -%}{%- do featmill.cut_off() -%}
        {{ return("select * from " ~ events ~ (" cross join " ~ entities if entities else "")) }}
    {%- endif -%}
    {%- set node = featmill._feature_node() -%}
    {%- set table = featmill._feature_table(node) -%}
    {%- set features = featmill._declared_windows(node) -%}
    {%- do featmill._require_exact_states(events, features) -%}
    {%- do featmill._pin_events(node, events, event_at, ingested_at, event_id) -%}
    {%- if tiles is not none and model.resource_type != 'unit_test' -%}
        {%- set plan = featmill._tile_plan(table, features, event_at, ingested_at, event_id) -%}
        {{ return(featmill._windows_of_tiles(node, tiles, events, entities, plan, features)) }}
    {%- endif -%}
    {%- set as_of = featmill.as_of() -%}
    {%- set happened, known, id = featmill._quoted(event_at), featmill._quoted(ingested_at), featmill._quoted(event_id) -%}
    {%- set order_by = "(" ~ happened ~ ", " ~ known ~ ", " ~ id ~ ")" -%}
    {%- set keys = [] -%}
    {%- for key in table.join_keys -%}{%- do keys.append(featmill._quoted(key)) -%}{%- endfor -%}
    {%- set side = "entity" if entities else "event" -%}
    select
        {%- for key in keys %}
        {{ side }}.{{ key }},
        {%- endfor %}
        {{ as_of }} as {{ featmill._quoted(node.config.event_time) }}
        {%- for feature in features %},
        {{ featmill._windowed_column(feature, table, "event." ~ happened, as_of, order_by) }} as {{ featmill._quoted(feature.name) }}
        {%- endfor %}
    from
        {%- if entities %} (select distinct {{ keys | join(', ') }} from {{ entities }}) as entity
    left join {% endif %} (
        select * from {{ events }}
        where {{ happened }} < {{ as_of }} and {{ known }} <= {{ featmill.cut_off() }}
    ) as event
        {%- if entities %} using ({{ keys | join(', ') }}){% endif %}
    group by {% for key in keys %}{{ side }}.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
{% endmacro %}
