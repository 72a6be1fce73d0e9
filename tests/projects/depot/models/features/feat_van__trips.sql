with trips as (

    {{ featmill.windows(
        ref('stg_fleet__trips'),
        event_at='ended_at',
        ingested_at='loaded_at',
        event_id='trip_no',
    ) }}

)

select
    van_plate,
    feature_at,
    trips_1d,
    fuel_litres_1d,
    last_fuel_litres_1d
from trips
