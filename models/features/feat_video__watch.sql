with watches as (

    select * from {{ ref('int_video__watches') }}

),

videos as (

    select * from {{ ref('stg_shop__videos') }}

),

released as (

    select
        video_id,
        category
    from videos
    where
        {{ featmill.in_window('released_at', featmill.as_of(), 'lifetime') }}
        and ingested_at <= {{ featmill.cut_off() }}

),

known_videos as (

    select video_id
    from released
    union
    select video_id
    from watches
    where
        {{ featmill.in_window('event_at', featmill.as_of(), 'lifetime') }}
        and ingested_at <= {{ featmill.cut_off() }}

),

windowed as (

    {{ featmill.windows(ref('int_video__watches'), entities='known_videos') }}

),

features as (

    select
        windowed.video_id,
        windowed.feature_at,
        windowed.video_watch_time_7d,
        windowed.video_watch_time_30d,
        windowed.video_viewer_count_7d,
        windowed.video_avg_watch_seconds_30d,
        windowed.video_completion_rate_30d,
        released.category as video_category
    from windowed
    left join released on windowed.video_id = released.video_id

)

select * from features
