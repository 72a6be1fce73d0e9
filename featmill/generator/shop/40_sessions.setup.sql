-- The sessions: laid out over the hours by their rhythm, each with its user, its pace and its
-- stretch of event ordinals. Of the {{ events }} rows some repeat another one; six originals are a
-- session on average.
set variable repeats = least(
    {{ events }} // 2, cast(round({{ events }} * {{ shares.duplicate }}) as bigint)
);
set variable originals = {{ events }} - getvariable('repeats');
set variable sessions = (getvariable('originals') + 5) // 6;

-- How the hours of a day and the days of a week weigh: quiet nights, busy evenings, a busier
-- weekend.
create temp table hours as
with

weighted as (
    select
        number,
        timestamp '{{ start }}' + to_hours(number) as hour_at,
        [
            3, 2, 1, 1, 1, 2, 4, 6, 8, 9, 9, 10,
            11, 10, 9, 9, 10, 11, 13, 15, 16, 14, 10, 6
        ][1 + number % 24]
        * [9, 9, 9, 10, 12, 14, 13][isodow(hour_at)]
        -- The weight of a day wanders by a tenth, or every week would be the same.
        * (90 + pick(number // 24, 'day', 21)) as weight
    from range({{ days * 24 }}) as spans (number)
),

summed as (
    select
        *,
        cast(sum(weight) over (order by number) as bigint) as weight_until,
        cast(sum(weight) over () as bigint) as total_weight
    from weighted
)

select
    number,
    hour_at,
    getvariable('sessions') * (weight_until - weight) // total_weight as first_session,
    getvariable('sessions') * weight_until // total_weight - first_session as sessions,
    -- A session takes less than half an hour, so the last one begins early enough to end before
    -- midnight.
    case when number = {{ days * 24 - 1 }} then 1800e6 else 3600e6 end as microseconds
from summed;

-- Lengths are weights scaled so that they sum to the number of events exactly.
create temp table sessions as
with

placed as (
    select
        first_session + place as session,
        hour_at + to_microseconds(cast(
            microseconds * ((place + draw(first_session + place, 'begin')) / sessions) as bigint
        )) as begins_at,
        draw(first_session + place, 'length') as longness,
        draw(first_session + place, 'user') as popularity
    from hours
    cross join lateral unnest(range(sessions)) as places (place)
),

weighted as (
    select
        * exclude (longness),
        1 + cast(floor(15 * longness * longness) as bigint) as weight
    from placed
),

summed as (
    select
        *,
        cast(sum(weight) over (order by session) as bigint) as weight_until,
        cast(sum(weight) over () as bigint) as total_weight
    from weighted
),

sized as (
    select
        session,
        begins_at,
        getvariable('originals') * (weight_until - weight) // total_weight as first_event,
        getvariable('originals') * weight_until // total_weight - first_event as length,
        -- Squaring the draw makes a power law; the prime scatters the heavy users over the ids.
        1 + cast(floor(popularity * popularity * users) as bigint) as popularity_rank,
        1 + popularity_rank * 2654435761 % users as wanted_user_id,
        1 + wanted_user_id % founders as founder_id
    from summed
    cross join (
        select
            count(*) as users,
            count(*) filter (where signed_up_at < timestamp '{{ start }}') as founders
        from users
    )
)

select
    sized.session,
    sized.begins_at,
    sized.first_event,
    sized.length,
    -- Who has not signed up yet cannot come: somebody who was there from the start does.
    case
        when users.signed_up_at <= sized.begins_at then sized.wanted_user_id
        else sized.founder_id
    end as user_id,
    draw(sized.session, 'viewer') < 0.27 as is_viewer,
    -- 20 to 75 seconds an event, and half an hour at most.
    least(
        1790e6 / greatest(sized.length, 1),
        20e6 + 55e6 * draw(sized.session, 'pace')
    ) as pace
from sized
inner join users on sized.wanted_user_id = users.user_id
order by sized.session;
