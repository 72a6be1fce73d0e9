{#- One row per event id: of several the first ingested counts (rule 8), then the first that happened; what still ties is
    settled by content. Only rows whose id stands more than once are compared, which are few.

    relation: ref() or the name of a CTE. event_id, ingested_at, event_at: its columns.
    corrections: ref() of restated events with the same columns. One that was ingested by the cut-off stands in for its
    event, with its own times, and counts where there is no such event; of several the last ingested (rules 8 and 9). -#}
{% macro deduplicated(relation, event_id='event_id', ingested_at='ingested_at', event_at='event_at', corrections=none) %}
    with given as (
        select * from {{ relation }}
    ),
    repeated as (
        select {{ event_id }} from given group by {{ event_id }} having count(*) > 1
    ){% if corrections %},
    corrected as (
        select correction.* from (
            select * from {{ corrections }} where {{ ingested_at }} <= {{ featmill.cut_off() }}
        ) as correction
        qualify row_number() over (
            partition by {{ event_id }}
            order by {{ ingested_at }} desc, {{ event_at }} desc, md5(to_json(correction)::varchar)
        ) = 1
    ){% endif %}
    select given.* from given anti join repeated using ({{ event_id }})
    {%- if corrections %} anti join corrected using ({{ event_id }}){% endif %}
    union all
    select candidate.* from (
        select given.* from given semi join repeated using ({{ event_id }})
        {%- if corrections %} anti join corrected using ({{ event_id }}){% endif %}
    ) as candidate
    qualify row_number() over (
        partition by {{ event_id }}
        order by {{ ingested_at }}, {{ event_at }}, md5(to_json(candidate)::varchar)
    ) = 1
    {%- if corrections %}
    union all by name
    select * from corrected
    {%- endif %}
{% endmacro %}
