with versions as (

    select * from {{ ref('int_product__versions') }}

),

-- Not valid_to but the cut-off decides which version counts: a successor that was ingested after it
-- is not known yet, and its predecessor still holds.
known as (

    select
        *,
        coalesce(
            price is distinct from lag(price) over product_history
            and row_number() over product_history > 1,
            false
        ) as is_price_change
    from versions
    where
        {{ featmill.in_window('valid_from', featmill.as_of(), 'lifetime') }}
        and ingested_at <= {{ featmill.cut_off() }}
    window product_history as (partition by product_id order by valid_from)

),

prices as (

    select
        product_id,
        count(*) filter (
            where is_price_change
            and {{ featmill.in_window('valid_from', featmill.as_of(), '90d') }}
        ) as price_change_count_90d,
        coalesce(max(valid_from) filter (where is_price_change), min(valid_from)) as priced_at
    from known
    group by product_id

),

current_versions as (

    select * from known
    qualify row_number() over (partition by product_id order by valid_from desc) = 1

),

features as (

    select
        versions.product_id,
        {{ featmill.as_of() }} as feature_at,
        versions.price as product_price,
        versions.rating as product_rating,
        versions.category as product_category,
        versions.is_active as product_is_active,
        prices.price_change_count_90d as product_price_change_count_90d,
        cast(
            date_sub('day', prices.priced_at, {{ featmill.as_of() }}) as integer
        ) as product_price_age_days
    from current_versions as versions
    inner join prices on versions.product_id = prices.product_id

)

select * from features
