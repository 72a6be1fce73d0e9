with windows as (

    {{ featmill.windows(ref('stg_retail__lines')) }}

)

select
    customer_id,
    feature_at,
    customer_net_revenue_7d,
    customer_net_revenue_30d,
    customer_net_revenue_90d,
    customer_order_count_30d,
    customer_order_count_90d,
    customer_distinct_products_90d,
    customer_cancelled_value_90d,
    customer_avg_line_value_90d,
    customer_last_line_value,
    customer_seconds_since_last_order
from windows
