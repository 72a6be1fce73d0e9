select * from {{ ref('feat_van__trips') }} where fuel_litres_1d < 0
