with events as (

    select * from {{ ref('stg_shop__events') }}

),

videos as (

    select * from {{ ref('stg_shop__videos') }}

),

products as (

    select * from {{ ref('int_product__known_categories') }}

),

categorised as (

    select
        events.event_id,
        events.user_id,
        events.product_id,
        events.video_id,
        events.session_id,
        events.event_type,
        events.watch_seconds,
        events.event_at,
        events.ingested_at,
        coalesce(videos.category, products.category) as category
    from events
    left join videos on
        events.video_id = videos.video_id
        and events.ingested_at >= videos.ingested_at
    asof left join products on
        events.product_id = products.product_id
        and events.ingested_at >= products.known_from

)

select * from categorised
