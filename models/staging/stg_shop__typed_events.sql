{#- Present in the file, NULL once typed: of these columns that is a reason to refuse the row. -#}
{%- set typed_columns = [
    'user_id', 'product_id', 'video_id', 'quantity', 'amount', 'watch_seconds',
    'play_position_seconds', 'event_at', 'ingested_at',
] -%}

with source as (

    select * from {{ source('shop', 'events') }}

),

typed as (

    select
        -- the row as it came
        source as raw_row,
        -- ids
        {{ featmill.whole_number('user_id') }} as user_id,
        {{ featmill.whole_number('product_id') }} as product_id,
        {{ featmill.whole_number('video_id') }} as video_id,
        -- numerics
        {{ featmill.whole_number('quantity', 'integer') }} as quantity,
        try_cast(amount as decimal(12, 2)) as amount,
        {{ featmill.whole_number('watch_seconds', 'integer') }} as watch_seconds,
        {{ featmill.whole_number('play_position_seconds', 'integer') }} as play_position_seconds,
        -- texts
        nullif(trim(try_cast(event_id as varchar)), '') as event_id,
        nullif(trim(try_cast(session_id as varchar)), '') as session_id,
        lower(trim(try_cast(event_type as varchar))) as event_type,
        -- timestamps, UTC: a text may carry its own offset
        {{ featmill.utc('event_at', zone='UTC') }} as event_at,
        {{ featmill.utc('ingested_at', zone='UTC') }} as ingested_at
    from source

),

judged as (

    select
        *,
        coalesce(
            case
                {%- for column in typed_columns %}
                    when {{ column }} is null and raw_row.{{ column }} is not null
                        then 'unreadable {{ column }}'
                {%- endfor %}
            end,
            {{ featmill.refusal(
                keys=['event_id', 'user_id'],
                checks={
                    'no event type': "event_type is null",
                    'unknown event type': "event_type not in ('view', 'click', 'purchase', 'watch')",
                    'no product_id': "event_type <> 'watch' and product_id is null",
                    'no video_id': "event_type = 'watch' and video_id is null",
                    'a purchase without an amount': "event_type = 'purchase' and amount is null",
                    'a watch without its seconds': "event_type = 'watch' and watch_seconds is null",
                    'a negative number': 'least(quantity, amount, watch_seconds) < 0',
                },
            ) }}
        ) as refused_because
    from typed

),

explained as (

    select
        * exclude (raw_row),
        case
            when refused_because is not null then cast(to_json(raw_row) as varchar)
        end as raw_event
    from judged

)

select * from explained
