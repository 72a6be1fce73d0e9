-- The change log of the products: one row per version. A quarter of the products change price and
-- rating one to three times within the span; three in a hundred are withdrawn, which is then their
-- last version.
create temp table products as
with

size as (
    select {{ [25, [events // 500, 20000] | min] | max }} as products
),

shelved as (
    select
        product_id,
        -- Twenty shelves, and twelve categories on them: a popular category has several shelves.
        [
            'electronics', 'fashion', 'home', 'books', 'grocery', 'beauty', 'sports', 'toys',
            'electronics', 'fashion', 'garden', 'music', 'office', 'pets', 'home', 'books',
            'grocery', 'electronics', 'fashion', 'beauty'
        ][1 + product_id % 20] as category,
        -- A large prime scatters the quotas over the ids and keeps them exact, so the smallest
        -- catalogue has some too.
        case
            when (product_id * 2654435761) % products < products // 4
                then 1 + pick(product_id, 'changes', 3)
            else 0
        end as changes,
        (product_id * 2246822519) % products < ceil(products * 0.03) as is_withdrawn,
        draw(product_id, 'price') as dearness,
        cast(2.4 + 2.3 * draw(product_id, 'rating') as decimal(3, 2)) as first_rating
    from range(1, (select products + 1 from size)) as ids (product_id)
    cross join size
),

priced as (
    select
        * exclude (dearness),
        -- Cubed: most are cheap, few are dear.
        cast(
            3 + floor(dearness * dearness * dearness * case
                when category = 'electronics' then 1200
                when category in ('home', 'garden', 'sports') then 400
                when category in ('books', 'music', 'grocery') then 60
                else 180
            end) + 0.99 as decimal(12, 2)
        ) as first_price
    from shelved
)

select
    product_id,
    version,
    -- Being withdrawn is a version of its own, which keeps the price and the rating of the one
    -- before.
    least(version, changes) as latest_change,
    product_id * 8 + latest_change as version_id,
    [
        'Classic', 'Compact', 'Everyday', 'Little', 'Modern',
        'Noble', 'Prime', 'Quiet', 'Solid', 'Swift'
    ][1 + pick(product_id, 'adjective', 10)] || ' ' || category || ' ' || product_id as title,
    category,
    case
        when latest_change = 0 then first_price
        else cast(
            first_price * cast(0.7 + 0.6 * draw(version_id, 'reprice') as decimal(4, 2))
            as decimal(12, 2)
        )
    end as price,
    case
        when latest_change = 0 then first_rating
        else cast(
            first_rating + cast(0.6 * draw(version_id, 'rerate') - 0.3 as decimal(3, 2))
            as decimal(3, 2)
        )
    end as rating,
    version <= changes as is_active,
    case
        when version = 0
            then timestamp '{{ start }}'
                - to_seconds(3600 + pick(product_id, 'listed', 364 * 86400))
        else timestamp '{{ start }}' + to_seconds(cast(floor(
            {{ days }} * 86400
            * (version - draw(product_id * 8 + version, 'changed'))
            / (changes + cast(is_withdrawn as integer))
        ) as bigint))
    end as updated_at
from priced
cross join lateral unnest(range(1 + changes + cast(is_withdrawn as integer))) as versions (version);

select
    product_id,
    title,
    category,
    price,
    rating,
    is_active,
    updated_at,
    updated_at
    + to_milliseconds(1000 + pick(product_id * 8 + version, 'product_ingested', 300000))
        as ingested_at
from products
order by updated_at, product_id, version;
