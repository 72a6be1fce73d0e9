with events as (

    select * from {{ ref('stg_shop__events') }}

),

videos as (

    select * from {{ ref('stg_shop__videos') }}

),

watches as (

    select
        events.event_id,
        events.video_id,
        events.user_id,
        events.session_id,
        events.watch_seconds,
        videos.duration_seconds,
        events.event_at,
        events.ingested_at,
        -- who scrolls back watches more seconds than there are
        case
            when events.watch_seconds >= videos.duration_seconds then 1
            else cast(events.watch_seconds / videos.duration_seconds as decimal(7, 6))
        end as watched_share
    from events
    left join videos on
        events.video_id = videos.video_id
        and events.ingested_at >= videos.ingested_at
    where events.event_type = 'watch'

)

select * from watches
