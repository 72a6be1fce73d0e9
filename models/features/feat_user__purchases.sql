with events as (

    select * from {{ ref('stg_shop__events') }}

),

purchases as (

    select * from {{ ref('int_user__purchases') }}

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

last_purchases as (

    select
        user_id,
        max(event_at) as last_purchase_at
    from purchases
    where
        {{ featmill.in_window('event_at', featmill.as_of(), 'lifetime') }}
        and ingested_at <= {{ featmill.cut_off() }}
    group by user_id

),

features as (

    select
        windowed.user_id,
        windowed.feature_at,
        windowed.user_total_purchases_7d,
        windowed.user_total_purchases_30d,
        windowed.user_total_purchases_90d,
        windowed.user_purchase_count_7d,
        windowed.user_purchase_count_30d,
        windowed.user_purchase_count_90d,
        windowed.user_avg_purchase_value_30d,
        windowed.user_max_purchase_value_90d,
        windowed.user_distinct_products_30d,
        windowed.user_last_purchase_value,
        cast(
            date_sub('day', last_purchases.last_purchase_at, windowed.feature_at) as integer
        ) as user_days_since_last_purchase
    from windowed
    left join last_purchases on windowed.user_id = last_purchases.user_id

)

select * from features
