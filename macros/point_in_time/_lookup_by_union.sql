{#- point_in_time_sql for engines without an ASOF join: labels and rows in one relation, sorted by key and time, and the
    last row carried to each label. A row is carried as one struct, so that its NULLs are carried too (rule 14); at the
    same time rows come before labels (rule 12). A warehouse's table has no order, so neither has the answer.

    engine: {given: SQL of a struct of all of the spine's columns}, and what the macros called here take of it. Plain Jinja. -#}
{% macro _lookup_by_union(spine, time, keys, views, status, engine) -%}
    with spine as (
        {{ featmill._checked_spine(spine, time, keys, engine) }}
    ),
    looked_up_0 as (
        select
            {{ engine['given'] }} as _featmill_given,
            spine.{{ featmill._quoted(time, engine) }} as _featmill_moment
            {%- for key in keys %},
            spine.{{ featmill._quoted(key, engine) }}
            {%- endfor %}
        from spine
    )
    {%- for view in views %}
    {%- set number = loop.index %}
    {%- set at = featmill._quoted(view['event_time'], engine) %},
    rows_{{ number }} as (
        {{ featmill._portable_rows(view, engine) }}
    ),
    both_{{ number }} as (
        select looked_up.*, 1 as _featmill_is_label, null as _featmill_row
        from looked_up_{{ number - 1 }} as looked_up
        union all
        select
            null, {{ at }}
            {%- for key in keys %}, {{ featmill._quoted(key, engine) if key in view['keys'] else 'null' }}{% endfor %}
            {%- for before in range(1, number) %}, null{% endfor %}, 0,
            struct({{ at }} as {{ at }}
            {%- for feature in view['features'] %}, {{ featmill._quoted(feature['name'], engine) }} as {{ featmill._quoted(feature['name'], engine) }}{% endfor %})
        from rows_{{ number }}
    ),
    carried_{{ number }} as (
        select
            both_{{ number }}.*,
            {{ featmill._last_known('_featmill_row', 'over (partition by ' ~ featmill._quoted_list(view['keys'], engine) ~ ' order by _featmill_moment, _featmill_is_label rows between unbounded preceding and current row)', engine['ignore']) }} as found_{{ number }}
        from both_{{ number }}
    ),
    looked_up_{{ number }} as (
        select
            _featmill_given, _featmill_moment
            {%- for key in keys %}, {{ featmill._quoted(key, engine) }}{% endfor %}
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
    {{ featmill._portable_gone_join(view, loop.index, 'looked_up', '_featmill_moment', engine) }}
    {%- endfor %}
{%- endmacro %}
