-- Leak 1: each ride takes the district that its station lies in now.
with rides as (

    select *
    from {{ ref('stg_rides') }}
    where {{ featmill.in_window('started_at', featmill.as_of(), '7d') }} and ingested_at <= {{ featmill.cut_off() }}

),

placed as (

    select rides.bike_id, stations.district
    from rides
    left join {{ ref('int_current_stations') }} as stations on rides.station_id = stations.station_id

)

select
    bike_id,
    {{ featmill.as_of() }} as feature_at,
    max(district) as last_district
from placed
group by bike_id
