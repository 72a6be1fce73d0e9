{#- The columns that are not tiled, by entity, from the events of their windows: fewer rows than those of `windows`, for an entity
    without an event in any of the windows has none. -#}
{% macro _untiled_windows(table, events, plan, features) -%}
    {%- set as_of = featmill.as_of() -%}
    {%- set starts = [] -%}
    {%- set ends = [] -%}
    {%- for feature in features -%}
        {%- set start, end = featmill._window_edges(feature, table, as_of) -%}
        {%- do starts.append(start or "timestamp '-infinity'") -%}
        {%- do ends.append(end) -%}
    {%- endfor -%}
    select
        {{ plan['keys'] | join(', ') }}
        {%- for feature in features %},
        {{ featmill._windowed_column(feature, table, "event." ~ plan.event_at, as_of, plan.order_by) }} as {{ featmill._quoted(feature.name) }}
        {%- endfor %}
    from {{ events }} as event
    where event.{{ plan.event_at }} >= least({{ starts | unique | join(', ') }})
        and event.{{ plan.event_at }} < greatest({{ ends | unique | join(', ') }})
        and event.{{ plan.ingested_at }} <= {{ featmill.cut_off() }}
    group by {{ plan['keys'] | join(', ') }}
{%- endmacro %}
