with source as (

    select * from {{ source('shop', 'users') }}

),

typed as (

    select
        -- ids
        try_cast(user_id as bigint) as user_id,
        -- kinds
        upper(trim(try_cast(country as varchar))) as country,
        -- timestamps, UTC
        try_cast(signed_up_at as timestamptz) at time zone 'UTC' as signed_up_at,
        try_cast(ingested_at as timestamptz) at time zone 'UTC' as ingested_at
    from source

),

deduplicated as (

    {{ featmill.deduplicated('typed', event_id='user_id', event_at='signed_up_at') }}

)

select * from deduplicated
