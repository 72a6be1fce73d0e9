with typed_events as (

    select * from {{ ref('stg_shop__typed_events') }}

),

accepted as (

    select * exclude (refused_because, raw_event)
    from typed_events
    where refused_because is null

),

deduplicated as (

    {{ featmill.deduplicated('accepted') }}

)

select * from deduplicated
