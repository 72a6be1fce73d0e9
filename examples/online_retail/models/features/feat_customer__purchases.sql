with windows as (

    {{ featmill.windows(ref('stg_retail__lines')) }}

),

last_orders as (

    select
        customer_id,
        date_sub('day', max(event_at), {{ featmill.as_of() }})::integer as customer_days_since_last_order
    from {{ ref('stg_retail__lines') }}
    where
        not is_cancellation
        and {{ featmill.in_window('event_at', featmill.as_of(), 'lifetime') }}
        and ingested_at <= {{ featmill.cut_off() }}
    group by customer_id

),

joined as (

    select
        windows.customer_id,
        windows.feature_at,
        windows.customer_net_revenue_7d,
        windows.customer_net_revenue_30d,
        windows.customer_net_revenue_90d,
        windows.customer_order_count_30d,
        windows.customer_order_count_90d,
        windows.customer_distinct_products_90d,
        windows.customer_cancelled_value_90d,
        windows.customer_avg_line_value_90d,
        windows.customer_last_line_value,
        last_orders.customer_days_since_last_order
    from windows
    left join last_orders using (customer_id)

)

select * from joined
