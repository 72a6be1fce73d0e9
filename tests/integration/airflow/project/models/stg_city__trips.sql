select
    trip_id::varchar as event_id,
    rider_id::bigint as rider_id,
    fare::decimal(12, 2) as fare,
    event_at::timestamp as event_at,
    ingested_at::timestamp as ingested_at
from {{ source('city', 'trips') }}
