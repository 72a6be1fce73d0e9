with typed_lines as (

    select * from {{ ref('stg_retail__typed_lines') }}

)

select * from typed_lines where refused_because is not null
