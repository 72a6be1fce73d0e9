with purchases as (

    {{ featmill.windows(ref('stg_shop__events')) }}

)

select
    user_id,
    feature_at,
    user_total_purchases_30d,
    user_avg_purchase_value_30d,
    user_purchase_count_30d,
    user_last_amount_lifetime
from purchases
