with changes as (

    select * from {{ ref('stg_shop__products') }}

),

usable as (

    select
        product_id,
        category,
        updated_at,
        -- a change announced for later counts once it is in effect, a late one once we know of it
        greatest(updated_at, ingested_at) as known_from
    from changes

),

known as (

    select distinct
        product_id,
        known_from,
        -- the newest change wins also where its category is NULL (rule 14); arg_max would skip it
        arg_max_null(category, updated_at) over (
            partition by product_id
            order by known_from
            range between unbounded preceding and current row
        ) as category
    from usable

)

select * from known
