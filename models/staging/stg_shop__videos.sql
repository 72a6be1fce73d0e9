with source as (

    select * from {{ source('shop', 'videos') }}

),

typed as (

    select
        -- ids
        try_cast(video_id as bigint) as video_id,
        -- kinds
        trim(try_cast(title as varchar)) as title,
        lower(trim(try_cast(category as varchar))) as category,
        -- numerics
        try_cast(duration_seconds as integer) as duration_seconds,
        -- timestamps, UTC
        try_cast(released_at as timestamptz) at time zone 'UTC' as released_at,
        try_cast(ingested_at as timestamptz) at time zone 'UTC' as ingested_at
    from source

),

deduplicated as (

    {{ featmill.deduplicated('typed', event_id='video_id', event_at='released_at') }}

)

select * from deduplicated
