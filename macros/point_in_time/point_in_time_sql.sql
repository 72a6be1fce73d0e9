{#- A training set as SQL (rules 12 to 15): the spine's rows and columns in its order, then `view__feature` columns.

    A row is visible at t iff event_time <= t < event_time + ttl. An unmatched or expired row keeps the declared
    default, or NULL. A NULL time or key in the spine stops the query. ASOF takes one inequality, so ttl is applied to
    what it found: an older row cannot be visible when the newest is past its ttl.

    spine: SQL text of the spine. time: its column. views: as in feature_rows_sql, with `name`, and per feature
    `default_sql` and, where entities vanished, `gone`: the relation that absences_sql gives; between `gone_since` and
    `gone_until` no row of before is found (rule 11). status: add `view__status` (ok, expired, missing) and `view__<event time>`.
    hidden: columns of the spine that are not part of the answer. Plain Jinja: Python
    renders this macro as well. -#}
{% macro point_in_time_sql(spine, time, views, status=false, hidden=[]) -%}
    {%- set moment = 'spine.' ~ featmill._quoted(time) -%}
    with spine as (
        select *, row_number() over () as _featmill_row from ({{ spine }}) as given
    )
    {%- for view in views %},
    rows_{{ loop.index }} as (
        {{ featmill.feature_rows_sql(view) }}
    )
    {%- endfor %}
    select
        spine.* exclude ({{ featmill._quoted_list(['_featmill_row'] + hidden) }})
        {%- for view in views %}
        {%- set found = 'rows_' ~ loop.index -%}
        {%- set at = found ~ '.' ~ featmill._quoted(view['event_time']) -%}
        {%- set visible = at ~ ' is not null' -%}
        {%- set is_gone = 'coalesce(gone_' ~ loop.index ~ '.gone_since > ' ~ at ~ ', false)' -%}
        {%- if view['gone'] is defined -%}{%- set visible = visible ~ ' and not ' ~ is_gone -%}{%- endif -%}
        {%- if view['ttl_us'] is not none -%}
            {%- set visible = visible ~ ' and ' ~ moment ~ ' < ' ~ at ~ ' + to_microseconds(' ~ view['ttl_us'] ~ ')' -%}
        {%- endif -%}
        {%- for feature in view['features'] %},
        case when {{ visible }} then {{ found }}.{{ featmill._quoted(feature['name']) }} else {{ feature['default_sql'] }} end as {{ featmill._quoted(view['name'] ~ '__' ~ feature['name']) }}
        {%- endfor %}
        {%- if status %},
        {%- set found_at = 'case when not ' ~ is_gone ~ ' then ' ~ at ~ ' end' if view['gone'] is defined else at %}
        case when {{ visible }} then 'ok' when {{ found_at }} is null then 'missing' else 'expired' end as {{ featmill._quoted(view['name'] ~ '__status') }},
        {{ found_at }} as {{ featmill._quoted(view['name'] ~ '__' ~ view['event_time']) }}
        {%- endif %}
        {%- endfor %}
    from spine
    {%- for view in views %}
    {%- set found = 'rows_' ~ loop.index %}
    asof left join {{ found }} on
        {%- for key in view['keys'] %} spine.{{ featmill._quoted(key) }} = {{ found }}.{{ featmill._quoted(key) }} and{% endfor %} {{ moment }} >= {{ found }}.{{ featmill._quoted(view['event_time']) }}
    {%- if view['gone'] is defined %}
    {%- set gone = 'gone_' ~ loop.index %}
    left join {{ view['gone'] }} as {{ gone }} on
        {%- for key in view['keys'] %} spine.{{ featmill._quoted(key) }} = {{ gone }}.{{ featmill._quoted(key) }} and{% endfor %}
        {{ moment }} >= {{ gone }}.gone_since and {{ moment }} < {{ gone }}.gone_until
    {%- endif %}
    {%- endfor %}
    order by spine._featmill_row
{%- endmacro %}
