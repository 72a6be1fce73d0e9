-- The newest row of each station, whenever that is.
select
    station_id,
    district,
    updated_at::timestamp as updated_at
from {{ source('bikes', 'stations') }}
qualify row_number() over (partition by station_id order by updated_at desc) = 1
