{#- One row per event id: of several the first ingested counts (rule 8), then the first that happened; what still ties is
    settled by content. Only rows whose id stands more than once are compared, which are few. An event without its id stops the
    query: `refusal` is where it is set aside.

    relation: ref() or the name of a CTE. event_id, ingested_at, event_at: its columns. -#}
{% macro deduplicated(relation, event_id='event_id', ingested_at='ingested_at', event_at='event_at') %}
    with given as (
        select * from {{ relation }}
    ),
    repeated as (
        select {{ event_id }} from given group by {{ event_id }} having {{ featmill._with_id(event_id, 'count(*) > 1') }}
    )
    select given.* from given anti join repeated using ({{ event_id }})
    union all
    select candidate.* from (
        select given.* from given semi join repeated using ({{ event_id }})
    ) as candidate
    qualify row_number() over (
        partition by {{ event_id }}
        order by {{ ingested_at }}, {{ event_at }}, md5(to_json(candidate)::varchar)
    ) = 1
{% endmacro %}
