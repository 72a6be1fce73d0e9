{#- The rows of a feature table that a lookup may find, one per key and event time.

    Of ties the later published_at wins, then the higher snapshot id (rule 13); a bare ASOF over ties is random in
    DuckDB. A feature with `ignore_nulls` carries its last non-NULL value from the rows still visible when this one
    begins (rule 14): decided per row, so it is the same offline and online.

    view: {relation, keys, event_time, ttl_us (or none), features: [{name, ignore_nulls}]}, and `unique` where it is
    proven that its relation has one row per key and event time: sorting them out is dear. Plain Jinja: Python renders
    this macro as well. -#}
{% macro feature_rows_sql(view) -%}
    {%- set keys = featmill._quoted_list(view['keys']) -%}
    {%- set at = featmill._quoted(view['event_time']) -%}
    select
        {{ keys }},
        {{ at }}
        {%- for feature in view['features'] %},
        {%- set name = featmill._quoted(feature['name']) %}
        {%- if feature['ignore_nulls'] %}
        last_value({{ name }} ignore nulls) over (
            partition by {{ keys }} order by {{ at }}
            range between {{ 'unbounded' if view['ttl_us'] is none else 'to_microseconds(' ~ (view['ttl_us'] - 1) ~ ')' }} preceding
            and current row
        ) as {{ name }}
        {%- else %}
        {{ name }}
        {%- endif %}
        {%- endfor %}
    from {% if view['unique'] is defined and view['unique'] %}{{ view['relation'] }}{% else %}(
        select * from {{ view['relation'] }}
        qualify row_number() over (
            partition by {{ keys }}, {{ at }}
            order by published_at desc, snapshot_id desc
        ) = 1
    ){% endif %}
{%- endmacro %}
