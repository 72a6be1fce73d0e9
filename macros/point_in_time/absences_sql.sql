{#- When entities were gone (rules 11 and 20): one row per entity and stretch of snapshots that lack it, after one that
    holds it. A snapshot holds every entity there is, so one that it lacks was deleted or withdrawn: from its as_of
    until that of the next snapshot which holds the entity, no lookup finds a row of before.

    What was made before an entity was known says nothing of it: a snapshot that lacks it counts where it is known at
    least as late as the first known of the snapshots in a row that held the entity until then. So a correction of an
    older as_of that holds an entity of which no later snapshot knew does not delete it.

    view: {relation, keys, snapshots_sql: SQL of (snapshot_id, as_of, known) of the relation's snapshots, in parentheses;
    the greater `known`, the more a snapshot was made of}.
    engine: whose names are quoted, as `_quoted` takes it. Plain Jinja: Python renders this macro as well. -#}
{% macro absences_sql(view, engine=none) -%}
    {%- set keys = featmill._quoted_list(view['keys'], engine) -%}
    with _featmill_moments as (
        select
            snapshot_id, as_of as _featmill_at,
            dense_rank() over (order by as_of) as _featmill_place,
            max(known) over (partition by as_of) as _featmill_known
        from {{ view['snapshots_sql'] }}
    ),
    _featmill_held as (
        select distinct {{ keys }}, _featmill_place, _featmill_known
        from {{ view['relation'] }} inner join _featmill_moments using (snapshot_id)
    ),
    _featmill_stays as (
        select
            *,
            lead(_featmill_place) over (partition by {{ keys }} order by _featmill_place) as _featmill_next,
            _featmill_place - row_number() over (partition by {{ keys }} order by _featmill_place) as _featmill_run
        from _featmill_held
    ),
    _featmill_runs as (
        select
            {{ keys }}, max(_featmill_place) as _featmill_last, min(_featmill_known) as _featmill_first_known,
            case when max(_featmill_next) > max(_featmill_place) then max(_featmill_next) end as _featmill_back
        from _featmill_stays
        group by {{ keys }}, _featmill_run
    ),
    _featmill_places as (select distinct _featmill_place, _featmill_at, _featmill_known from _featmill_moments),
    _featmill_ended as (
        select
            run.*,
            case when after_it._featmill_known >= run._featmill_first_known then run._featmill_last + 1 end as _featmill_at_once
        from _featmill_runs as run
        inner join _featmill_places as after_it on after_it._featmill_place = run._featmill_last + 1
    ),
    {#- Few runs end before a snapshot that does not count: only for these the first that does is searched. #}
    _featmill_later as (
        select ended._featmill_last, ended._featmill_first_known, min(place._featmill_place) as _featmill_found
        from (
            select distinct _featmill_last, _featmill_first_known
            from _featmill_ended
            where _featmill_at_once is null
        ) as ended
        inner join _featmill_places as place
            on place._featmill_place > ended._featmill_last and place._featmill_known >= ended._featmill_first_known
        group by ended._featmill_last, ended._featmill_first_known
    )
    select
        {% for key in view['keys'] %}ended.{{ featmill._quoted(key, engine) }}, {% endfor %}
        began._featmill_at as gone_since,
        coalesce(back._featmill_at, 'infinity'::timestamptz) as gone_until
    from _featmill_ended as ended
    left join _featmill_later as later
        on later._featmill_last = ended._featmill_last and later._featmill_first_known = ended._featmill_first_known
    inner join _featmill_places as began
        on began._featmill_place = coalesce(ended._featmill_at_once, later._featmill_found)
    left join _featmill_places as back on back._featmill_place = ended._featmill_back
    where ended._featmill_back is null or began._featmill_place < ended._featmill_back
{%- endmacro %}
