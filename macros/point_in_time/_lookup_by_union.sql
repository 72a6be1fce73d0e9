{#- point_in_time_sql for engines without an ASOF join: labels and rows in one relation, sorted by key and time, and the
    last row carried to each label. A row is carried as one struct, so that its NULLs are carried too (rule 14); at the
    same time rows come before labels (rule 12). A warehouse's table has no order, so neither has the answer.

    engine: {given: SQL of a struct of all of the spine's columns}, and what the macros called here take of it. Plain Jinja. -#}
{% macro _lookup_by_union(spine, time, keys, views, status, engine) -%}
    with spine as (
        {{ featmill._checked_spine(spine, time, keys, engine['fail']) }}
    ),
    looked_up_0 as (
        select
            {{ engine['given'] }} as _featmill_given,
            spine.{{ time }} as _featmill_moment
            {%- for key in keys %},
            spine.{{ key }}
            {%- endfor %}
        from spine
    )
    {%- for view in views %}
    {%- set number = loop.index %},
    rows_{{ number }} as (
        {{ featmill._portable_rows(view, engine) }}
    ),
    both_{{ number }} as (
        select looked_up.*, 1 as _featmill_is_label, null as _featmill_row
        from looked_up_{{ number - 1 }} as looked_up
        union all
        select
            null, {{ view['event_time'] }}
            {%- for key in keys %}, {{ key if key in view['keys'] else 'null' }}{% endfor %}
            {%- for before in range(1, number) %}, null{% endfor %}, 0,
            struct({{ view['event_time'] }} as {{ view['event_time'] }}
            {%- for feature in view['features'] %}, {{ feature['name'] }} as {{ feature['name'] }}{% endfor %})
        from rows_{{ number }}
    ),
    carried_{{ number }} as (
        select
            both_{{ number }}.*,
            {{ featmill._last_known('_featmill_row', 'over (partition by ' ~ (view['keys'] | join(', ')) ~ ' order by _featmill_moment, _featmill_is_label rows between unbounded preceding and current row)', engine['ignore']) }} as found_{{ number }}
        from both_{{ number }}
    ),
    looked_up_{{ number }} as (
        select
            _featmill_given, _featmill_moment
            {%- for key in keys %}, {{ key }}{% endfor %}
            {%- for before in range(1, number + 1) %}, found_{{ before }}{% endfor %}
        from carried_{{ number }}
        where _featmill_is_label = 1
    )
    {%- if view['gone'] is defined %},
    gone_{{ number }} as (
        {{ featmill._portable_gone(view, engine) }}
    )
    {%- endif %}
    {%- endfor %}
    select
        _featmill_given.*
        {%- for view in views -%}
        {{ featmill._portable_columns(view, 'found_' ~ loop.index, '_featmill_moment', engine, status) }}
        {%- endfor %}
    from looked_up_{{ views | length }} as looked_up
    {%- for view in views %}
    {{ featmill._portable_gone_join(view, loop.index, 'looked_up', '_featmill_moment') }}
    {%- endfor %}
{%- endmacro %}
