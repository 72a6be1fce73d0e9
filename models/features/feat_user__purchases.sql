with events as (

    select * from {{ ref('stg_shop__events') }}

),

known_users as (

    select distinct user_id
    from events
    where
        {{ featmill.in_window('event_at', featmill.as_of(), 'lifetime') }}
        and ingested_at <= {{ featmill.cut_off() }}

),

windowed as (

    {{ featmill.windows(ref('int_user__purchases'), entities='known_users') }}

),

features as (

    select
        user_id,
        feature_at,
        user_total_purchases_7d,
        user_total_purchases_30d,
        user_total_purchases_90d,
        user_purchase_count_7d,
        user_purchase_count_30d,
        user_purchase_count_90d,
        user_avg_purchase_value_30d,
        user_std_purchase_value_90d,
        user_max_purchase_value_90d,
        user_distinct_products_30d,
        user_last_purchase_value,
        user_seconds_since_last_purchase,
        cast(user_seconds_since_last_purchase // 86400 as integer) as user_days_since_last_purchase
    from windowed

)

select * from features
