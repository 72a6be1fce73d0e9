with source as (

    select * from {{ source('shop', 'users') }}

),

typed as (

    select
        -- ids
        {{ featmill.whole_number('user_id') }} as user_id,
        -- kinds
        upper(trim(try_cast(country as varchar))) as country,
        -- timestamps, UTC
        {{ featmill.utc('signed_up_at', zone='UTC') }} as signed_up_at,
        {{ featmill.utc('ingested_at', zone='UTC') }} as ingested_at
    from source

),

deduplicated as (

    {{ featmill.deduplicated('typed', event_id='user_id', event_at='signed_up_at') }}

)

select * from deduplicated
