{#- The tiles of a plan as SQL: the join keys, `tile_start`, a column per state, and what a later run compares: how many
    events there are, the sum of their hashes, the cut-off they were read at, and the plan's digest. -#}
{% macro _tiles_sql(plan, events, cut_off) -%}
    select
        {%- for key in plan['keys'] %}
        {{ key }},
        {%- endfor %}
        {{ plan.start }} as tile_start,
        {%- for state in plan.states %}
        {{ state.of }} as {{ state.column }},
        {%- endfor %}
        count(*) as tile_events,
        sum({{ plan.hashed }}) as tile_digest,
        {{ cut_off }} as tile_cut_off,
        '{{ plan.definition }}' as tile_definition
    from {{ events }} as event /* featmill:touched */
    where {{ plan.ingested_at }} <= {{ cut_off }} and {{ plan.event_at }} is not null
    group by {% for key in plan['keys'] %}{{ key }}, {% endfor %}{{ plan.start }}
{%- endmacro %}
