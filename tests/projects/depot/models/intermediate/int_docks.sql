select depot_code, dock_no from {{ ref('docks') }}
