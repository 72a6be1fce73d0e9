-- Nothing is dropped in silence: every row of the source is one of three things, and counted so.
with arrived as (

    select count(*) as row_count
    from {{ source('shop', 'events') }}

),

accepted as (

    select count(*) as row_count
    from {{ ref('stg_shop__events') }}

),

refused as (

    select count(*) as row_count
    from {{ ref('stg_shop__quarantined_events') }}

),

duplicates as (

    select count(*) - count(distinct event_id) as row_count
    from {{ ref('stg_shop__typed_events') }}
    where refused_because is null

)

select
    arrived.row_count as arrived,
    accepted.row_count as accepted,
    refused.row_count as refused,
    duplicates.row_count as duplicates
from arrived
cross join accepted
cross join refused
cross join duplicates
where arrived.row_count <> accepted.row_count + refused.row_count + duplicates.row_count
