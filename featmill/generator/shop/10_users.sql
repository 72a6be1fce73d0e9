-- One row per user. Ids grow with the moment of signing up, as a serial key's would. Seven in ten
-- were there before the first day; the others join during the span, and never have an event before
-- they did.
create temp table users as
with

size as (
    select
        {{ [1, [events // 50, 200000] | min] | max }} as users,
        ceil({{ [1, [events // 50, 200000] | min] | max }} * 0.7) as founders
),

joined as (
    select
        user_id,
        case
            when user_id <= founders
                then timestamp '{{ start }}' - to_days(730)
                    + to_microseconds(cast(
                        730 * 86400e6 * (user_id - draw(user_id, 'signed_up')) / founders as bigint
                    ))
            else timestamp '{{ start }}'
                + to_microseconds(cast(
                    {{ days }} * 86400e6
                    * (user_id - founders - draw(user_id, 'signed_up'))
                    / nullif(users - founders, 0)
                    as bigint
                ))
        end as signed_up_at
    from range(1, (select users + 1 from size)) as ids (user_id)
    cross join size
)

select
    user_id,
    -- Repeated entries are the weights: half of the users live in three countries.
    [
        'US', 'US', 'US', 'US', 'GB', 'GB', 'GB', 'DE', 'DE', 'DE',
        'FR', 'FR', 'IN', 'IN', 'BR', 'CA', 'ES', 'IT', 'JP', 'NL'
    ][1 + pick(user_id, 'country', 20)] as country,
    signed_up_at,
    signed_up_at + to_milliseconds(500 + pick(user_id, 'user_ingested', 120000)) as ingested_at
from joined;

select
    user_id,
    country,
    signed_up_at,
    ingested_at
from users
order by user_id;
