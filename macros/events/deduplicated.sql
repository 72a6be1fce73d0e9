{#- One row per event id: of several the first ingested counts (rule 8); what still ties is settled by content.

    relation: ref() or the name of a CTE. event_id, ingested_at: its columns. -#}
{% macro deduplicated(relation, event_id='event_id', ingested_at='ingested_at', event_at='event_at') %}
    select * from {{ relation }}
    qualify row_number() over (
        partition by {{ event_id }}
        order by {{ ingested_at }}, {{ event_at }}, md5(to_json({{ relation }})::varchar)
    ) = 1
{% endmacro %}
