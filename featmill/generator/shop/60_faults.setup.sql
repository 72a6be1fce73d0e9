-- What is wrong with which event, as functions of its ordinal, and how many rows have what: the
-- table `planted`.

-- At most one fault per event, so that the shares add up; being repeated or displaced comes on top.
create temp macro fault_of(ordinal) as (
    case
        when draw(ordinal, 'fault') < {{ shares.late }} then 'late'
        when draw(ordinal, 'fault') < {{ shares.late + shares.null_key }} then 'null_key'
        when draw(ordinal, 'fault') < {{ shares.late + shares.null_key + shares.null_time }}
            then 'null_time'
        when draw(ordinal, 'fault')
            < {{ shares.late + shares.null_key + shares.null_time + shares.future }} then 'future'
    end
);

-- Which events are sent twice: one, at a random place, of each of as many equal stretches as there
-- are repeats. So the number of rows is exact.
create temp macro repeat_begins_at(repeat) as (
    (repeat * getvariable('originals') + getvariable('repeats') - 1)
    // nullif(getvariable('repeats'), 0)
);

create temp macro repeat_of(ordinal) as (
    ordinal * getvariable('repeats') // getvariable('originals')
);

create temp macro is_repeated(ordinal) as coalesce(
    ordinal = repeat_begins_at(repeat_of(ordinal)) + pick(
        repeat_of(ordinal),
        'repeat',
        repeat_begins_at(repeat_of(ordinal) + 1) - repeat_begins_at(repeat_of(ordinal))
    ),
    -- NULL where there are no repeats at all.
    false
);

create temp macro is_displaced(ordinal, copy) as (
    draw(ordinal * 2 + copy, 'displaced') < {{ shares.out_of_order }}
);

create temp table planted as
with

faults as (
    select
        fault_of(ordinal) as fault,
        count(*) as events,
        count(*) filter (where is_repeated(ordinal)) as repeats,
        count(*) filter (where is_displaced(ordinal, 0)) as displaced,
        count(*) filter (
            where is_repeated(ordinal) and is_displaced(ordinal, 1)
        ) as displaced_repeats
    from range(getvariable('originals')) as ordinals (ordinal)
    group by 1
),

totals as (
    select
        sum(repeats) as repeats,
        sum(displaced + displaced_repeats) as displaced
    from faults
)

select
    kind,
    cast(coalesce(case kind
        when 'duplicate' then (select repeats from totals)
        when 'out_of_order' then (select displaced from totals)
        else (select sum(events + repeats) from faults where fault = kind)
    end, 0) as bigint) as planted_rows
from unnest(
    ['late', 'duplicate', 'out_of_order', 'null_key', 'null_time', 'future']
) with ordinality as kinds (kind, place)
order by place;
