{#- Why a typed row cannot be taken as an event, as text; NULL where it can (rule 10).

    keys: columns that must not be NULL. allowed_skew: how far `event_at` may lie after `ingested_at`.
    checks: further reasons, {reason: SQL condition}; the first that holds names the row. -#}
{% macro refusal(keys, event_at='event_at', ingested_at='ingested_at', allowed_skew='5m', checks={}) %}
    case
        when {{ event_at }} is null then 'no event time'
        when {{ ingested_at }} is null then 'no ingestion time'
        {%- for key in keys %}
        when {{ featmill._quoted(key) }} is null then {{ featmill._literal('no ' ~ key) }}
        {%- endfor %}
        when {{ event_at }} > {{ ingested_at }} + to_microseconds({{ featmill._microseconds(allowed_skew) }})
            then 'from the future'
        {%- for reason, condition in checks.items() %}
        when {{ condition }} then {{ featmill._literal(reason) }}
        {%- endfor %}
    end
{% endmacro %}
