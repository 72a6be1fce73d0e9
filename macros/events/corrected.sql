{#- Events with what was restated of them: a correction that was ingested by the cut-off stands in for its event, with its
    own times, and counts where there is no such event; of several the last ingested (rules 8 and 9).

    A macro of its own: a model that calls it depends on the run's cut-off, and one that only removes duplicates does not.

    relation: ref() or the name of a CTE, one row per event id. corrections: ref() of restated events with the same
    columns. event_id, ingested_at, event_at: their columns. -#}
{% macro corrected(relation, corrections, event_id='event_id', ingested_at='ingested_at', event_at='event_at') %}
    with newest as (
        select correction.* from (
            select * from {{ corrections }} where {{ ingested_at }} <= {{ featmill.cut_off() }}
        ) as correction
        qualify {{ featmill._with_id(event_id, "row_number() over (partition by " ~ event_id ~ " order by "
            ~ ingested_at ~ " desc, " ~ event_at ~ " desc, md5(to_json(correction)::varchar)) = 1") }}
    )
    select given.* from (select * from {{ relation }}) as given anti join newest using ({{ event_id }})
    union all by name
    select * from newest
{% endmacro %}
