with examples as (

    {{ featmill.point_in_time(
        spine=ref('trn_churn_labels'),
        time='example_at',
        features=[
            {
                'table': ref('user__purchases'),
                'features': [
                    'user_purchase_count_30d', 'user_total_purchases_30d',
                    'user_days_since_last_purchase',
                ],
            },
            {
                'table': ref('user__engagement'),
                'features': [
                    'user_session_count_7d', 'user_session_count_30d', 'user_watch_time_7d',
                ],
            },
        ],
        status=true,
    ) }}

)

select * from examples
