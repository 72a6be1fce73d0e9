with events as (

    select * from {{ ref('stg_shop__events') }}

),

users as (

    select * from {{ ref('stg_shop__users') }}

),

-- Up to when the events are complete enough to say that somebody did not come back.
horizon as (

    select max(ingested_at) - to_days(14) as newest_example_at
    from events

),

active_weeks as (

    select distinct
        user_id,
        date_trunc('week', event_at) + to_days(7) as example_at
    from events

),

mature as (

    select active_weeks.*
    from active_weeks
    inner join horizon on active_weeks.example_at <= horizon.newest_example_at

),

labelled as (

    select
        mature.user_id,
        mature.example_at,
        date_sub('day', users.signed_up_at, mature.example_at) as tenure_days,
        coalesce(events.event_at >= mature.example_at + to_days(14), true) as has_churned
    from mature
    asof left join events on
        mature.user_id = events.user_id
        and mature.example_at <= events.event_at
    left join users on mature.user_id = users.user_id

)

select * from labelled
