with changes as (

    select * from {{ ref('stg_shop__products') }}

),

versions as (

    select
        product_id,
        title,
        category,
        price,
        rating,
        is_active,
        updated_at as valid_from,
        ingested_at,
        lead(updated_at) over (partition by product_id order by updated_at) as valid_to
    from changes

)

select * from versions
