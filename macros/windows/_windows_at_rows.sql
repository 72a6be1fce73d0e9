{#- The windows of a view at each distinct key and moment of the CTE `asked`, as SQL: one row each (rule 4).

    Every aggregate is the declared one, at `_featmill_moment` instead of a run's as_of, over a range join with the CTE
    `event`. An entity without an event before the moment was never seen: its row says so and has defaults (rule 20). -#}
{% macro _windows_at_rows(view) -%}
    {%- set moment = 'asked._featmill_moment' -%}
    {%- set event_at = "event." ~ featmill._quoted(view['event_at']) -%}
    {%- set order_by = "(" ~ event_at ~ ", event." ~ featmill._quoted(view['ingested_at']) ~ ", event." ~ featmill._quoted(view['event_id']) ~ ")" -%}
    {%- set back = featmill._windows_at_back(view['features'], view) -%}
    select
        asked.*,
        coalesce(any_value(known._featmill_first_at) < {{ moment }}, false) as _featmill_seen
        {%- for feature in view['features'] %},
        {{ featmill._windowed_column(feature, view, event_at, moment, order_by) }} as {{ featmill._quoted(feature.name) }}
        {%- endfor %}
    from asked
    left join known on {% for key in view['keys'] %}known._featmill_known_{{ loop.index }} = asked._featmill_key_{{ loop.index }}{{ ' and ' if not loop.last }}{% endfor %}
    left join event on
        {%- for key in view['keys'] %}
        event.{{ featmill._quoted(key) }} = asked._featmill_key_{{ loop.index }} and
        {%- endfor %}
        {{ event_at }} < {{ moment }}
        {%- if back is not none %}
        and {{ event_at }} >= {{ moment }} - to_microseconds({{ back }})
        {%- endif %}
    group by {% for key in view['keys'] %}asked._featmill_key_{{ loop.index }}, {% endfor %}{{ moment }}
{%- endmacro %}
