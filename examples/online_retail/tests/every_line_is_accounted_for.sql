-- Accepted, repeated and quarantined lines together are the source's lines: nothing is lost (rule 10).
with counted as (

    select
        (select count(*) from {{ ref('stg_retail__typed_lines') }}) as given,
        (select count(*) from {{ ref('stg_retail__quarantined_lines') }}) as quarantined,
        (select count(*) from {{ ref('stg_retail__lines') }}) as accepted,
        (
            select count(*) - count(distinct event_id)
            from {{ ref('stg_retail__typed_lines') }} where refused_because is null
        ) as repeated

)

select * from counted where given <> quarantined + accepted + repeated
