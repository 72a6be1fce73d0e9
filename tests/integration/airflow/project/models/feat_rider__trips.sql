with trips as (

    {{ featmill.windows(ref('stg_city__trips')) }}

)

select
    rider_id,
    feature_at,
    trip_count_7d,
    fare_total_7d
from trips
