{#- Windows at arbitrary moments as SQL: one row per spine row, in its order, each window evaluated at exactly its time.

    `view__feature` columns follow the spine's own. A key and time that occur twice are evaluated once. An entity that had
    no event before the time is `missing` and at its declared defaults; one that had is `ok`, with 0 for what counts an
    empty window (rules 5, 15 and 20). Moments may be TIMESTAMP (UTC) or TIMESTAMPTZ, of the spine as of the events.

    spine: SQL text of the spine. time: its column. view: {name, keys, events (a relation or SQL in parentheses, of
    accepted events up to the cut-off), event_at, ingested_at, event_id, features (meta.feature of each, with name and
    data_type), and optionally the table's hop and delay, and entities (a relation of the keys and known_at: entities that
    are known from after that moment on, whether or not they have an event)}. status: add `view__status`. only: leave the spine's own columns
    out. hidden: columns of the spine that are not part of the answer. Plain Jinja: Python renders this macro as well. -#}
{% macro windows_at_sql(spine, time, view, status=false, only=false, hidden=[]) -%}
    {%- set moment = "make_timestamp(epoch_us(spine." ~ featmill._quoted(time) ~ "))" -%}
    {%- set event_at = featmill._quoted(view['event_at']) -%}
    {%- set keys = [] -%}
    {%- for key in view['keys'] -%}{%- do keys.append(featmill._quoted(key)) -%}{%- endfor -%}
    with spine as (
        select *, row_number() over () as _featmill_row from ({{ spine }}) as given
    ),
    asked as (
        select distinct
            {%- for key in keys %}
            spine.{{ key }} as _featmill_key_{{ loop.index }},
            {%- endfor %}
            {{ moment }} as _featmill_moment
        from spine
    ),
    event as (
        select * replace (make_timestamp(epoch_us({{ event_at }})) as {{ event_at }}) from {{ view['events'] }}
    ),
    known as (
        select
            {%- for key in keys %}
            asked_key._featmill_key_{{ loop.index }} as _featmill_known_{{ loop.index }},
            {%- endfor %}
            min(_featmill_at) as _featmill_first_at
        from (
            select distinct {% for key in keys %}_featmill_key_{{ loop.index }}{{ ', ' if not loop.last }}{% endfor %} from asked
        ) as asked_key
        inner join (
            select {{ keys | join(', ') }}, {{ event_at }} as _featmill_at from event
            {%- if view.get('entities') %}
            union all
            select {{ keys | join(', ') }}, known_at from {{ view['entities'] }}
            {%- endif %}
        ) as first on {% for key in keys %}first.{{ key }} = asked_key._featmill_key_{{ loop.index }}{{ ' and ' if not loop.last }}{% endfor %}
        group by all
    ),
    found as (
        {{ featmill._windows_at_rows(view) }}
    )
    select
        {%- if not only %}
        spine.* exclude ({{ featmill._quoted_list(['_featmill_row'] + hidden) }}),
        {%- endif %}
        {%- for feature in view['features'] %}
        case when found._featmill_seen then found.{{ featmill._quoted(feature.name) }}
            else cast({{ featmill._literal(feature.get('default')) }} as {{ feature.data_type }}) end as {{ featmill._quoted(view['name'] ~ '__' ~ feature.name) }}
        {{- ',' if status or not loop.last }}
        {%- endfor %}
        {%- if status %}
        case when found._featmill_seen then 'ok' else 'missing' end as {{ featmill._quoted(view['name'] ~ '__status') }}
        {%- endif %}
    from spine
    left join found on
        {%- for key in keys %}
        spine.{{ key }} = found._featmill_key_{{ loop.index }} and
        {%- endfor %}
        {{ moment }} = found._featmill_moment
    order by spine._featmill_row
{%- endmacro %}
