-- One row per product with what its price and its sale depend on, flat, so that an event finds its
-- price in one join.
create temp table price_lists as
select
    product_id,
    max(price) filter (where version = 0) as first_price,
    max(updated_at) filter (where version = 1) as second_at,
    max(price) filter (where version = 1) as second_price,
    max(updated_at) filter (where version = 2) as third_at,
    max(price) filter (where version = 2) as third_price,
    max(updated_at) filter (where version = 3) as fourth_at,
    max(price) filter (where version = 3) as fourth_price,
    max(updated_at) filter (where not is_active) as withdrawn_at
from products
group by product_id;
