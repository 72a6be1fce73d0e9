-- Leak 2: one of the windows has no right edge.
select
    bike_id,
    {{ featmill.as_of() }} as feature_at,
    sum(minutes) filter (where {{ featmill.in_window('started_at', featmill.as_of(), '7d') }}) as minutes_7d,
    sum(minutes) filter (where started_at >= {{ featmill.as_of() }} - to_days(1)) as minutes_1d
from {{ ref('stg_rides') }}
where ingested_at <= {{ featmill.cut_off() }}
group by bike_id
