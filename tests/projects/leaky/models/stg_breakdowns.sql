select
    bike_id,
    broke_at::timestamp as broke_at,
    ingested_at::timestamp as ingested_at
from {{ source('bikes', 'breakdowns') }}
