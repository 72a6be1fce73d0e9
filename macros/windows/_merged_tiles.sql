{#- The tiles that lie whole between the edges of windows, merged by entity and stretch between two edges: one row each, with
    the start of its first tile and a column per state. `position` is SQL that tells the stretches apart.

    Tiles do not overlap, so of the first or last event only the tile's place in time is compared, not the event's. -#}
{% macro _merged_tiles(tiles, plan, position, where) -%}
    select
        {{ plan['keys'] | join(', ') }},
        min(tile_start) as part_start
        {%- for state in plan.states %}
        {%- set held = "struct_extract(" ~ state.column ~ ", 'held')" -%}
        {%- set outer = 'max' if state.end == 'last' else 'min' %},
        {% if state.end -%}
        case when arg_{{ outer }}({{ held }}, tile_start) is not null then struct_pack(
            place := {{ outer }}(tile_start) filter (where {{ held }} is not null),
            held := arg_{{ outer }}({{ held }}, tile_start)
        ) end
        {%- else -%}
        {{ state.settle | replace('{}', state.merge | replace('{}', state.column)) }}
        {%- endif %} as {{ state.column }}
        {%- endfor %}
    from {{ tiles }} as held
    where {{ where }}
    group by {{ plan['keys'] | join(', ') }}, {{ position | replace('{}', 'tile_start') }}
{%- endmacro %}
