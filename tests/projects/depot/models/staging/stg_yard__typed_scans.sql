with source as (

    select * from {{ source('yard', 'scans') }}

),

typed as (

    select
        try_cast(scan_id as varchar) as scan_id,
        try_cast(depot_code as varchar) as depot_code,
        try_cast(dock_no as integer) as dock_no,
        try_cast(kind as varchar) as kind,
        try_cast(weight_kg as double) as weight_kg,
        try_cast(scanned_at as timestamp) as scanned_at,
        try_cast(ingested_at as timestamp) as ingested_at
    from source

),

judged as (

    select
        *,
        {{ featmill.refusal(
            keys=['scan_id', 'depot_code', 'dock_no'],
            event_at='scanned_at',
            allowed_skew='10m',
            checks={'lighter than a parcel': 'weight_kg < ' ~ var('lightest_kg')},
        ) }} as refused_because
    from typed

)

select * from judged
