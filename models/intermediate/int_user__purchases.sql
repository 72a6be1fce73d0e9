with events as (

    select * from {{ ref('stg_shop__events') }}

),

purchases as (

    select
        event_id,
        user_id,
        product_id,
        session_id,
        quantity,
        amount,
        event_at,
        ingested_at
    from events
    where event_type = 'purchase'

)

select * from purchases
