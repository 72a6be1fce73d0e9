with windows as (

    {{ featmill.windows(ref('stg_retail__lines')) }}

)

select
    stock_code,
    feature_at,
    product_quantity_7d,
    product_quantity_30d,
    product_net_revenue_30d,
    product_customer_count_30d,
    product_max_price_90d,
    product_min_price_90d
from windows
