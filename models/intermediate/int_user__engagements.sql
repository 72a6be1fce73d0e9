with events as (

    select * from {{ ref('stg_shop__events') }}

),

videos as (

    select * from {{ ref('stg_shop__videos') }}

),

products as (

    select * from {{ ref('int_product__versions') }}

),

known_versions as (

    select
        events.event_id,
        products.category
    from events
    inner join products on
        events.product_id = products.product_id
        and events.event_at >= products.valid_from
        and events.ingested_at >= products.ingested_at
    -- the newest version wins also where it has no category (rule 14)
    qualify row_number() over (partition by events.event_id order by products.valid_from desc) = 1

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
        coalesce(videos.category, known_versions.category) as category
    from events
    left join videos on
        events.video_id = videos.video_id
        and events.ingested_at >= videos.ingested_at
    left join known_versions on events.event_id = known_versions.event_id

)

select * from categorised
