-- What all users bought in a window is what the staged events of that window sum to, to the cent.
with features as (

    select coalesce(sum(user_total_purchases_90d), 0) as total
    from {{ ref('feat_user__purchases') }}

),

events as (

    select coalesce(sum(amount), 0) as total
    from {{ ref('stg_shop__events') }}
    where
        event_type = 'purchase'
        and {{ featmill.in_window('event_at', featmill.as_of(), '90d') }}
        and ingested_at <= {{ featmill.cut_off() }}

)

select
    features.total as total_of_features,
    events.total as total_of_events
from features
cross join events
where features.total <> events.total
