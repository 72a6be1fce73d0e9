-- Leak 3: what is to be predicted is a feature, though only of the past.
select
    bike_id,
    {{ featmill.as_of() }} as feature_at,
    count(*) as breakdowns_30d
from {{ ref('trn_breakdowns') }}
where {{ featmill.in_window('broke_at', featmill.as_of(), '30d') }} and ingested_at <= {{ featmill.cut_off() }}
group by bike_id
