with interactions as (

    select * from {{ ref('int_product__interactions') }}

),

versions as (

    select * from {{ ref('int_product__versions') }}

),

known_products as (

    select product_id
    from versions
    where
        {{ featmill.in_window('valid_from', featmill.as_of(), 'lifetime') }}
        and ingested_at <= {{ featmill.cut_off() }}
    union
    select product_id
    from interactions
    where
        {{ featmill.in_window('event_at', featmill.as_of(), 'lifetime') }}
        and ingested_at <= {{ featmill.cut_off() }}

),

windowed as (

    {{ featmill.windows(ref('int_product__interactions'), entities='known_products') }}

)

select
    product_id,
    feature_at,
    product_view_count_1d,
    product_view_count_7d,
    product_view_count_30d,
    product_click_count_7d,
    product_purchase_count_7d,
    product_purchase_count_30d,
    product_buyer_count_30d,
    product_revenue_30d,
    product_conversion_7d
from windowed
