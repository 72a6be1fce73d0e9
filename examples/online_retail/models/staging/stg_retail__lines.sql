with typed_lines as (

    select * from {{ ref('stg_retail__typed_lines') }}

),

accepted as (

    select * exclude (refused_because, is_adjustment) from typed_lines where refused_because is null

),

deduplicated as (

    {{ featmill.deduplicated('accepted') }}

)

select * from deduplicated
