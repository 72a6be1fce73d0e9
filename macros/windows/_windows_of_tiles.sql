{#- The rows of `windows` from tiles: the states of whole tiles, and of the events in tiles that a window's edge cuts, merged and
    finalised (rules 4 to 7). Equal to the bit to what the events alone give.

    Every edge of a window, and as_of, ends a part. A tile in which one lies is left out, and its events are grouped by the
    parts between edges instead; so each part is wholly inside a window or outside it, and each column may have its own. The
    SQL is the same for every as_of. It fails where the tiles are not those of this run's events: they were built apart. -#}
{% macro _windows_of_tiles(node, tiles, events, entities, plan, features) -%}
    {%- set table = featmill._feature_table(node) -%}
    {%- set as_of, cut_off = featmill.as_of(), featmill.cut_off() -%}
    {%- set edges = [as_of] -%}
    {%- for feature in features -%}
        {%- for edge in featmill._window_edges(feature, table, as_of) if edge is not none and edge not in edges -%}
            {%- do edges.append(edge) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- set cut = [] -%}
    {%- for edge in edges -%}
        {%- set start = featmill._tile_start(edge, plan.width) -%}
        {%- do cut.append("case when " ~ start ~ " = " ~ edge ~ " then timestamp 'infinity' else " ~ start ~ " end") -%}
    {%- endfor -%}
    {%- set keys = plan['keys'] | join(', ') -%}
    {%- set side = "entity" if entities else "part" -%}
    select
        {%- for key in plan['keys'] %}
        {{ side }}.{{ key }},
        {%- endfor %}
        {{ as_of }} as {{ featmill._quoted(node.config.event_time) }}
        {%- for feature in features %},
        {{ featmill._tiled_column(feature, table, plan, as_of) }} as {{ featmill._quoted(feature.name) }}
        {%- endfor %}
    from
        {%- if entities %} (select distinct {{ keys }} from {{ entities }}) as entity
    left join {% endif %} (
        select {{ keys }}, tile_start, {{ plan.columns.values() | join(', ') }}
        from {{ tiles }}
        where tile_start < {{ as_of }} and tile_start not in ({{ cut | join(', ') }})
            and ({{ featmill._tiles_fit(tiles, events, plan, cut_off) }})
        union all
        select
            {{ keys }},
            greatest({{ plan.start }}{% for edge in edges %}, case when {{ plan.event_at }} >= {{ edge }} then {{ edge }} end{% endfor %}),
            {%- for state in plan.columns %}
            {{ state }}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ events }} as event
        where {{ plan.event_at }} < {{ as_of }} and {{ plan.ingested_at }} <= {{ cut_off }}
            and {{ plan.event_at }} >= least({{ cut | join(', ') }})
            and {{ plan.start }} in ({{ cut | join(', ') }})
        group by all
    ) as part
        {%- if entities %} using ({{ keys }}){% endif %}
    group by {% for key in plan['keys'] %}{{ side }}.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}
