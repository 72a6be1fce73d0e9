with events as (

    select * from {{ ref('stg_shop__events') }}

),

interactions as (

    select
        event_id,
        product_id,
        user_id,
        session_id,
        event_type,
        quantity,
        amount,
        event_at,
        ingested_at
    from events
    where event_type in ('view', 'click', 'purchase')

)

select * from interactions
