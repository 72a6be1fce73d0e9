with source as (

    select * from {{ source('shop', 'events') }}

),

typed as (

    select
        -- ids
        try_cast(event_id as varchar) as event_id,
        try_cast(user_id as bigint) as user_id,
        try_cast(product_id as bigint) as product_id,
        try_cast(video_id as bigint) as video_id,
        try_cast(session_id as varchar) as session_id,
        -- kinds
        lower(trim(try_cast(event_type as varchar))) as event_type,
        -- numerics
        try_cast(quantity as integer) as quantity,
        try_cast(amount as decimal(12, 2)) as amount,
        try_cast(watch_seconds as integer) as watch_seconds,
        -- timestamps, UTC
        try_cast(event_at as timestamp) as event_at,
        try_cast(ingested_at as timestamp) as ingested_at
    from source

),

judged as (

    select
        *,
        {{ featmill.refusal(
            keys=['event_id', 'user_id'],
            checks={
                'unknown event type': "event_type is null or event_type not in ('view', 'click', 'purchase', 'watch')",
                'a purchase without an amount': "event_type = 'purchase' and amount is null",
            },
        ) }} as refused_because
    from typed

)

select * from judged
