with accepted as (

    select * exclude (refused_because)
    from {{ ref('stg_yard__typed_scans') }}
    where refused_because is null and (weight_kg is null or weight_kg <= {{ var('heaviest_kg') }})

),

deduplicated as (

    {{ featmill.deduplicated('accepted', event_id='scan_id', event_at='scanned_at') }}

)

select * from deduplicated
