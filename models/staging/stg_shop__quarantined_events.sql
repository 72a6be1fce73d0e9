with typed_events as (

    select * from {{ ref('stg_shop__typed_events') }}

),

refused as (

    select
        event_id,
        event_at,
        ingested_at,
        refused_because,
        raw_event
    from typed_events
    where refused_because is not null

)

select * from refused
