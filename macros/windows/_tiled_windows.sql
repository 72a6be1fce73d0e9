{#- The columns that are tiled, as rows of `windows`: the states of whole tiles, and of the events in tiles that a window's edge
    cuts, merged and finalised (rules 4 to 7).

    The edges of all windows, and as_of, cut time into stretches, each of which lies wholly inside a window or outside it; so
    each column may have its own. A tile in which an edge lies is left out, and its events are taken instead. Each state is
    merged once per stretch, however many windows ask for it. The SQL is the same for every as_of. It fails where the tiles
    are not those of this run's events: they were built apart. -#}
{% macro _tiled_windows(node, tiles, events, entities, plan, features) -%}
    {%- set table = featmill._feature_table(node) -%}
    {%- set as_of, cut_off = featmill.as_of(), featmill.cut_off() -%}
    {%- set edges = [as_of] -%}
    {%- for feature in features -%}
        {%- for edge in featmill._window_edges(feature, table, as_of) if edge is not none and edge not in edges -%}
            {%- do edges.append(edge) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- set cut = [] -%}
    {%- set passed = [] -%}
    {%- for edge in edges -%}
        {%- set start = featmill._tile_start(edge, plan.width) -%}
        {%- do cut.append("case when " ~ start ~ " = " ~ edge ~ " then timestamp 'infinity' else " ~ start ~ " end") -%}
        {%- do passed.append("cast({} >= " ~ edge ~ " as integer)") -%}
    {%- endfor -%}
    {%- set cut, position = cut | join(', '), passed | join(' + ') -%}
    {%- set whole -%}
        tile_start < {{ as_of }} and tile_start not in ({{ cut }}) and ({{ featmill._tiles_fit(tiles, events, plan, cut_off) }})
    {%- endset -%}
    {%- set ragged -%}
        {{ plan.event_at }} < {{ as_of }} and {{ plan.ingested_at }} <= {{ cut_off }}
            and {{ plan.event_at }} >= least({{ cut }}) and {{ plan.start }} in ({{ cut }})
    {%- endset -%}
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
        {{ featmill._merged_tiles(tiles, plan, position, whole) }}
        union all
        {{ featmill._merged_ends(events, plan, position, ragged) }}
    ) as part
        {%- if entities %} using ({{ keys }}){% endif %}
    group by {% for key in plan['keys'] %}{{ side }}.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}
