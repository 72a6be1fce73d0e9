with source as (

    select * from {{ source('shop', 'products') }}

),

typed as (

    select
        -- ids
        {{ featmill.whole_number('product_id') }} as product_id,
        -- kinds
        trim(try_cast(title as varchar)) as title,
        lower(trim(try_cast(category as varchar))) as category,
        try_cast(is_active as boolean) as is_active,
        -- numerics
        try_cast(price as decimal(12, 2)) as price,
        try_cast(rating as decimal(3, 2)) as rating,
        -- timestamps, UTC
        {{ featmill.utc('updated_at', zone='UTC') }} as updated_at,
        {{ featmill.utc('ingested_at', zone='UTC') }} as ingested_at
    from source

),

deduplicated as (

    {{ featmill.deduplicated('typed', event_id='product_id, updated_at', event_at='updated_at') }}

)

select * from deduplicated
