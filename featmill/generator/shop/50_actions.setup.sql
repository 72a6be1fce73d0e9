-- What happened, before anything goes wrong on the way: one row per original event.
create temp view actions as
with

steps as (
    select
        session,
        first_event + step as ordinal,
        user_id,
        is_viewer,
        step % 4 as stage,
        -- The first event of each four decides which product they are about.
        first_event + step - step % 4 as topic,
        begins_at + to_microseconds(cast(
            pace * (step + 0.9 * draw(first_event + step, 'moment')) as bigint
        )) as happened_at
    from sessions
    cross join lateral unnest(range(length)) as positions (step)
),

drawn as (
    select
        session,
        ordinal,
        user_id,
        happened_at,
        draw(ordinal, 'type') as chance,
        -- A topic begins with a view except for viewers, so they alone never purchase.
        case
            when is_viewer then case
                when chance < 0.68 then 'watch'
                when chance < 0.78 then 'click'
                else 'view'
            end
            when stage = 0 then 'view'
            when chance < 0.045 then 'watch'
            when chance < 0.385 then 'click'
            when chance < 0.57 and stage >= 2 then 'purchase'
            else 'view'
        end as wanted_type,
        -- Each view looks at a product of its own; what follows is about the topic's.
        case when wanted_type = 'view' then ordinal else topic end as subject
    from steps
),

aimed as (
    select
        * exclude (chance, subject),
        -- Cubing the draw makes a power law: few products and videos get most of the events.
        draw(subject, 'product') as fame,
        1 + cast(floor(fame * fame * fame * products) as bigint) as any_product_id,
        any_product_id - any_product_id % 20 + user_id % 20 as liked_product_id,
        -- Four times in ten it is from the shelf that this user likes.
        case
            when wanted_type = 'watch' then null
            when draw(subject, 'liked') < 0.4 and liked_product_id between 1 and products
                then liked_product_id
            else any_product_id
        end as product_id,
        draw(ordinal, 'video') as video_fame,
        case
            when wanted_type = 'watch'
                then 1 + cast(floor(video_fame * video_fame * video_fame * videos) as bigint)
        end as video_id
    from drawn
    cross join (select count(*) as products from price_lists)
    cross join (select count(*) as videos from videos)
),

detailed as (
    select
        aimed.session,
        aimed.ordinal,
        aimed.user_id,
        aimed.product_id,
        aimed.video_id,
        aimed.happened_at,
        -- Nobody buys what is withdrawn: the purchase stays a click.
        case
            when aimed.wanted_type = 'purchase' and aimed.happened_at >= price_lists.withdrawn_at
                then 'click'
            else aimed.wanted_type
        end as event_type,
        case
            when event_type = 'purchase'
                then [1, 1, 1, 1, 1, 1, 1, 2, 2, 3][1 + pick(aimed.ordinal, 'quantity', 10)]
        end as quantity,
        cast(quantity * case
            when aimed.happened_at >= price_lists.fourth_at then price_lists.fourth_price
            when aimed.happened_at >= price_lists.third_at then price_lists.third_price
            when aimed.happened_at >= price_lists.second_at then price_lists.second_price
            else price_lists.first_price
        end as decimal(12, 2)) as amount,
        -- Three in ten watch to the end.
        cast(ceil(
            videos.duration_seconds
            * least(1, greatest(0.001, draw(aimed.ordinal, 'watched') / 0.7))
        ) as integer) as watch_seconds,
        cast(
            watch_seconds
            + pick(aimed.ordinal, 'position', videos.duration_seconds - watch_seconds + 1)
            as integer
        ) as play_position_seconds
    from aimed
    left join price_lists
        on price_lists.product_id
            = case when aimed.wanted_type = 'purchase' then aimed.product_id end
    left join videos on aimed.video_id = videos.video_id
)

select * from detailed;
