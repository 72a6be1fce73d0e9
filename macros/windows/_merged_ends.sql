{#- The events of the tiles that an edge of a window cuts, merged by entity and stretch between two edges: rows as those of
    `_merged_tiles`. -#}
{% macro _merged_ends(events, plan, position, where) -%}
    select
        {{ plan['keys'] | join(', ') }},
        min({{ plan.event_at }})
        {%- for state in plan.states %},
        {% if state.end -%}
        case when {{ state.of }} is not null then struct_pack(
            place := struct_extract(struct_extract({{ state.of }}, 'place'), 1), held := struct_extract({{ state.of }}, 'held')
        ) end
        {%- else -%}
        {{ state.of }}
        {%- endif %}
        {%- endfor %}
    from {{ events }} as event
    where {{ where }}
    group by {{ plan['keys'] | join(', ') }}, {{ position | replace('{}', plan.event_at) }}
{%- endmacro %}
