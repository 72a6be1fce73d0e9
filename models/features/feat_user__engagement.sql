with departments as (

    select * from {{ ref('categories') }}

),

windowed as (

    {{ featmill.windows(ref('int_user__engagements')) }}

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
        windowed.user_favorite_category_30d,
        departments.department as user_favorite_department_30d
    from windowed
    left join departments on windowed.user_favorite_category_30d = departments.category

)

select * from features
