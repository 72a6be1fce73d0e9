-- The file is in the order of arrival. Each row is a pure function of its ordinal and its session.
-- A displaced row lands some thirty rows' time after its turn, at least five minutes.
set variable displacement = greatest(300000000, {{ 30 * days * 86400000000 // events }});

-- An odd multiplier permutes the numbers below a power of two: unique, of one length, in no order.
create temp macro scrambled(ordinal) as lower(hex(
    549755813888 + (ordinal * 5308871543 + {{ seed % 1000003 }}) % 549755813888
));

with

delivered as (
    select
        *,
        fault_of(ordinal) as fault,
        draw(ordinal, 'delay') as delay,
        happened_at + to_microseconds(case
            -- Hours to five days late, but not after the extract closes, six hours past the end.
            when fault = 'late' then 7200000000 + cast(delay * least(
                424800e6,
                epoch_us(timestamp '{{ end }}') - epoch_us(happened_at) + 14400e6
            ) as bigint)
            -- The last event is delivered after the end, so that the newest midnight of the data is
            -- the end.
            when ordinal = getvariable('originals') - 1 then greatest(
                2000000,
                epoch_us(timestamp '{{ end }}') - epoch_us(happened_at) + 1000000
            )
            else 2000000 + cast(598e6 * delay * delay * delay as bigint)
        end) as first_ingested_at,
        case fault
            when 'null_time' then null
            when 'future'
                then first_ingested_at
                    + to_microseconds(
                        7200000000 + cast(draw(ordinal, 'ahead') * 259200e6 as bigint)
                    )
            else happened_at
        end as event_at
    from actions
),

landed as (
    select
        * exclude (delay, happened_at, first_ingested_at),
        -- Half of the repeats are the same to the last column, half are ingested up to half an hour
        -- later.
        first_ingested_at + to_microseconds(
            case
                when copy = 1 and draw(ordinal, 'again') < 0.5
                    then 1000000 + cast(draw(ordinal, 'later') * 1799e6 as bigint)
                else 0
            end
        ) as ingested_at,
        ingested_at + to_microseconds(
            case
                when is_displaced(ordinal, copy)
                    then cast(
                        getvariable('displacement')
                        * (0.2 + 0.8 * draw(ordinal * 2 + copy, 'displacement')) as bigint
                    )
                else 0
            end
        ) as landed_at
    from delivered
    -- A join rather than an unnest, which would cost a join of every row with itself.
    inner join (values (false, 0), (true, 0), (true, 1)) as copies (has_repeat, copy)
        on is_repeated(delivered.ordinal) = copies.has_repeat
)

select
    'e' || scrambled(ordinal) as event_id,
    event_type,
    case when fault is distinct from 'null_key' then user_id end as user_id,
    product_id,
    video_id,
    's' || scrambled(session) as session_id,
    quantity,
    amount,
    watch_seconds,
    play_position_seconds,
    event_at,
    ingested_at
from landed
order by landed_at, ordinal, copy;
