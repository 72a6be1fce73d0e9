{#- point_in_time_sql for Snowflake, which has an ASOF join: unmatched rows of the spine stay, with NULLs.

    A warehouse's table has no order, so neither has the answer. engine: as the macros
    called here take it. Plain Jinja. -#}
{% macro _lookup_by_asof(spine, time, keys, views, status, engine) -%}
    {%- set moment = 'spine.' ~ featmill._quoted(time, engine) -%}
    with spine as (
        {{ featmill._checked_spine(spine, time, keys, engine) }}
    )
    {%- for view in views %},
    rows_{{ loop.index }} as (
        {{ featmill._portable_rows(view, engine) }}
    )
    {%- if view['gone'] is defined %},
    gone_{{ loop.index }} as (
        {{ featmill._portable_gone(view, engine) }}
    )
    {%- endif %}
    {%- endfor %}
    select
        spine.*
        {%- for view in views -%}
        {{ featmill._portable_columns(view, 'rows_' ~ loop.index, moment, engine, status) }}
        {%- endfor %}
    from spine
    {%- for view in views %}
    {%- set found = 'rows_' ~ loop.index %}
    asof join {{ found }}
        match_condition ({{ moment }} >= {{ found }}.{{ featmill._quoted(view['event_time'], engine) }})
        on {% for key in view['keys'] %}{{ 'and ' if not loop.first }}spine.{{ featmill._quoted(key, engine) }} = {{ found }}.{{ featmill._quoted(key, engine) }} {% endfor %}
    {%- endfor %}
    {%- for view in views %}
    {{ featmill._portable_gone_join(view, loop.index, 'spine', moment, engine) }}
    {%- endfor %}
{%- endmacro %}
