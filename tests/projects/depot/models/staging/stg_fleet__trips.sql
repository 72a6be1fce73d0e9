with source as (

    select
        trip_no::varchar as trip_no,
        van_plate,
        fuel_litres,
        ended_at::timestamp as ended_at,
        loaded_at::timestamp as loaded_at
    from {{ source('fleet', 'trips') }}

),

judged as (

    select
        *,
        {{ featmill.refusal(keys=['trip_no', 'van_plate'], event_at='ended_at', ingested_at='loaded_at') }}
            as refused_because
    from source

),

accepted as (

    select * exclude (refused_because) from judged where refused_because is null

),

deduplicated as (

    {{ featmill.deduplicated('accepted', event_id='trip_no', event_at='ended_at', ingested_at='loaded_at') }}

)

select * from deduplicated
