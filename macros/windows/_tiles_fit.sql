{#- A scalar query that is true, and fails where a table of tiles is not what this run's events make: of another definition, a
    later cut-off, or another number of events. What changes beside these, the gate sees: it asks that the tiles are built in
    the run that publishes what is made of them. -#}
{% macro _tiles_fit(tiles, events, plan, cut_off) -%}
    select
        case
            when
                coalesce(max(held.tile_cut_off) <= {{ cut_off }} and any_value(held.tile_definition) = '{{ plan.definition }}', true)
                and coalesce(sum(held.tile_events), 0) = (
                    select count(*) from {{ events }} where {{ plan.ingested_at }} <= {{ cut_off }} and {{ plan.event_at }} is not null
                )
                then true
            else error('the tiles are not those of these events: build them together, dbt build -s +the_feature_table')
        end
    from {{ tiles }} as held
{%- endmacro %}
