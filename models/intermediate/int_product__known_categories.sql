with changes as (

    select * from {{ ref('stg_shop__products') }}

),

known as (

    select distinct
        product_id,
        -- of what was ingested by then, the newest change
        ingested_at as known_from,
        arg_max(category, updated_at) over (
            partition by product_id
            order by ingested_at
            range between unbounded preceding and current row
        ) as category
    from changes

)

select * from known
