select bike_id, broke_at, ingested_at from {{ ref('stg_breakdowns') }}
