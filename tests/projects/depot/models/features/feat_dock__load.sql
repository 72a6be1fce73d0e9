with load as (

    {{ featmill.windows(
        ref('stg_yard__scans'),
        entities=ref('int_docks'),
        event_at='scanned_at',
        event_id='scan_id',
    ) }}

)

select
    depot_code,
    dock_no,
    valid_at,
    parcels_24h,
    weight_kg_24h,
    weight_kg_mean_3d,
    weight_kg_max_3d,
    kinds_3d,
    heavy_parcels_3d,
    last_kind_lifetime
from load
