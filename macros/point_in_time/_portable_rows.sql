{#- feature_rows_sql in SQL that every warehouse has: no qualify, no range frame over times.

    Of ties the later published_at wins, then the higher snapshot id (rule 13). A feature with `ignore_nulls` carries its
    last non-NULL value where that was still visible when the row began (rule 14): the value and its time are carried
    together and the time is held against the ttl. Plain Jinja.

    engine: what `_quoted` takes of it, and {after: SQL of a time `{}` plus `[]` microseconds; ignore: where it writes `ignore nulls`: 'inside' or
    'outside' of the parentheses}. -#}
{% macro _portable_rows(view, engine) -%}
    {%- set ignore = engine['ignore'] -%}
    {%- set after = engine['after'] | replace('[]', view['ttl_us'] | string) -%}
    {%- set keys = featmill._quoted_list(view['keys'], engine) -%}
    {%- set at = featmill._quoted(view['event_time'], engine) -%}
    {%- set over = 'over (partition by ' ~ keys ~ ' order by ' ~ at ~ ' rows between unbounded preceding and current row)' -%}
    select
        {{ keys }},
        {{ at }}
        {%- for feature in view['features'] %},
        {%- set name = featmill._quoted(feature['name'], engine) %}
        {%- if not feature['ignore_nulls'] %}
        {{ name }}
        {%- elif view['ttl_us'] is none %}
        {{ featmill._last_known(name, over, ignore) }} as {{ name }}
        {%- else %}
        {%- set time_of = 'case when ' ~ name ~ ' is not null then ' ~ at ~ ' end' %}
        case
            when {{ at }} < {{ after | replace('{}', featmill._last_known(time_of, over, ignore)) }} then {{ featmill._last_known(name, over, ignore) }}
        end as {{ name }}
        {%- endif %}
        {%- endfor %}
    from (
        select
            published.*,
            row_number() over (
                partition by {{ keys }}, {{ at }} order by published_at desc, snapshot_id desc
            ) as _featmill_rank
        from {{ view['relation'] }} as published
    ) as ranked
    where _featmill_rank = 1
{%- endmacro %}
