select * from {{ ref('stg_yard__typed_scans') }} where refused_because is not null
