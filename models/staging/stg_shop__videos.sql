with source as (

    select * from {{ source('shop', 'videos') }}

),

typed as (

    select
        -- ids
        {{ featmill.whole_number('video_id') }} as video_id,
        -- kinds
        trim(try_cast(title as varchar)) as title,
        lower(trim(try_cast(category as varchar))) as category,
        -- numerics
        {{ featmill.whole_number('duration_seconds', 'integer') }} as duration_seconds,
        -- timestamps, UTC
        {{ featmill.utc('released_at', zone='UTC') }} as released_at,
        {{ featmill.utc('ingested_at', zone='UTC') }} as ingested_at
    from source

),

deduplicated as (

    {{ featmill.deduplicated('typed', event_id='video_id', event_at='released_at') }}

)

select * from deduplicated
