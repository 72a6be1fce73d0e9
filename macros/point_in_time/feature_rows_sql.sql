{#- The rows of a feature table that a lookup may find, one per key and event time.

    Of ties the later published_at wins, then the higher snapshot id (rule 13); a bare ASOF over ties is random in
    DuckDB. A feature with `ignore_nulls` carries its last non-NULL value from the rows still visible when this one
    begins (rule 14): decided per row, so it is the same offline and online.

    view: {relation, keys, event_time, ttl_us (or none), features: [{name, ignore_nulls}]}, and `unique` where it is
    proven that its relation has one row per key and event time: sorting them out is dear. Plain Jinja: Python renders
    this macro as well. -#}
{% macro feature_rows_sql(view) -%}
    select
        {{ view['keys'] | join(', ') }},
        {{ view['event_time'] }}
        {%- for feature in view['features'] %},
        {%- if feature['ignore_nulls'] %}
        last_value({{ feature['name'] }} ignore nulls) over (
            partition by {{ view['keys'] | join(', ') }} order by {{ view['event_time'] }}
            range between {{ 'unbounded' if view['ttl_us'] is none else 'to_microseconds(' ~ (view['ttl_us'] - 1) ~ ')' }} preceding
            and current row
        ) as {{ feature['name'] }}
        {%- else %}
        {{ feature['name'] }}
        {%- endif %}
        {%- endfor %}
    from {% if view['unique'] is defined and view['unique'] %}{{ view['relation'] }}{% else %}(
        select * from {{ view['relation'] }}
        qualify row_number() over (
            partition by {{ view['keys'] | join(', ') }}, {{ view['event_time'] }}
            order by published_at desc, snapshot_id desc
        ) = 1
    ){% endif %}
{%- endmacro %}
