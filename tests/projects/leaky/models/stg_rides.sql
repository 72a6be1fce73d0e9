select
    ride_id,
    bike_id,
    station_id,
    minutes::integer as minutes,
    started_at::timestamp as started_at,
    ingested_at::timestamp as ingested_at
from {{ source('bikes', 'rides') }}
