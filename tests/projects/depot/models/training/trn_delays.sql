{{ featmill.point_in_time(
    spine=ref('delays'),
    time='left_at',
    features=[
        {'table': ref('dock__load')},
        {'table': ref('van__trips'), 'features': ['last_fuel_litres_1d', 'trips_1d']},
    ],
    status=true,
) }}
