with engagements as (

    select * from {{ ref('int_user__engagements') }}

),

departments as (

    select * from {{ ref('categories') }}

),

windowed as (

    {{ featmill.windows(ref('int_user__engagements')) }}

),

categories_30d as (

    select
        user_id,
        category,
        count(*) as event_count,
        max(event_at) as latest_at
    from engagements
    where
        category is not null
        and {{ featmill.in_window('event_at', featmill.as_of(), '30d') }}
        and ingested_at <= {{ featmill.cut_off() }}
    group by user_id, category

),

favorites as (

    select
        user_id,
        category
    from categories_30d
    qualify
        row_number() over (
            partition by user_id
            order by event_count desc, latest_at desc, category asc
        ) = 1

),

features as (

    select
        windowed.user_id,
        windowed.feature_at,
        windowed.user_watch_time_7d,
        windowed.user_watch_time_30d,
        windowed.user_video_count_7d,
        windowed.user_session_count_7d,
        windowed.user_session_count_30d,
        windowed.user_view_count_1d,
        windowed.user_view_count_7d,
        favorites.category as user_favorite_category_30d,
        departments.department as user_favorite_department_30d
    from windowed
    left join favorites on windowed.user_id = favorites.user_id
    left join departments on favorites.category = departments.category

)

select * from features
