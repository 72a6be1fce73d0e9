-- Nothing leaks here: the window ends at as_of.
{{ featmill.windows(ref('stg_rides'), event_at='started_at', event_id='ride_id') }}
