{#- When entities were gone (rules 11 and 20): one row per entity and stretch of snapshots that lack it, after one that
    holds it. A snapshot holds every entity there is, so one that it lacks was deleted or withdrawn: from its as_of
    until that of the next snapshot which holds the entity, no lookup finds a row of before.

    view: {relation, keys, snapshots_sql: SQL of (snapshot_id, as_of) of the relation's snapshots, in parentheses}.
    engine: whose names are quoted, as `_quoted` takes it. Plain Jinja: Python renders this macro as well. -#}
{% macro absences_sql(view, engine=none) -%}
    {%- set keys = featmill._quoted_list(view['keys'], engine) -%}
    with _featmill_moments as (
        select snapshot_id, as_of as _featmill_at, dense_rank() over (order by as_of) as _featmill_place
        from {{ view['snapshots_sql'] }}
    ),
    _featmill_held as (
        select distinct {{ keys }}, _featmill_place
        from {{ view['relation'] }} inner join _featmill_moments using (snapshot_id)
    ),
    _featmill_stays as (
        select
            *,
            lead(_featmill_place) over (
                partition by {{ keys }} order by _featmill_place
            ) as _featmill_next
        from _featmill_held
    ),
    _featmill_places as (select distinct _featmill_place, _featmill_at from _featmill_moments)
    select
        {% for key in view['keys'] %}stay.{{ featmill._quoted(key, engine) }}, {% endfor %}
        began._featmill_at as gone_since,
        coalesce(back._featmill_at, 'infinity'::timestamptz) as gone_until
    from _featmill_stays as stay
    inner join _featmill_places as began on began._featmill_place = stay._featmill_place + 1
    left join _featmill_places as back on back._featmill_place = stay._featmill_next
    where stay._featmill_next is null or stay._featmill_next > stay._featmill_place + 1
{%- endmacro %}
