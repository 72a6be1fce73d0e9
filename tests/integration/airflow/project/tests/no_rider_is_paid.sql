select * from {{ ref('feat_rider__trips') }} where fare_total_7d < 0
