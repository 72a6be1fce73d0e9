with source as (

    select * from {{ source('retail', 'online_retail') }}

),

typed as (

    select
        -- ids: a line has none of its own, so its whole content names it (rule 8)
        md5(to_json([
            invoice_no, stock_code, description, quantity::varchar, invoice_ts::varchar, unit_price::varchar,
            customer_id::varchar, country
        ])::varchar) as event_id,
        line_id,
        invoice_no,
        upper(trim(stock_code)) as stock_code,
        customer_id::bigint as customer_id,
        -- strings
        country,
        -- numerics
        quantity::bigint as quantity,
        unit_price::decimal(12, 3) as unit_price,
        (quantity * unit_price)::decimal(15, 3) as amount,
        -- booleans
        starts_with(invoice_no, 'C') as is_cancellation,
        starts_with(invoice_no, 'A') as is_adjustment,
        -- timestamps, UTC; the invoices carry London's wall clock (rule 1)
        timezone('UTC', timezone('Europe/London', invoice_ts)) as event_at,
        timezone('UTC', timezone('Europe/London', (landing_date + 1)::timestamp)) as ingested_at
    from source

),

judged as (

    select
        *,
        {{ featmill.refusal(
            keys=['stock_code', 'invoice_no'],
            checks={
                'an adjustment of bad debt, not a sale': 'is_adjustment',
                'a write-off without a price': 'unit_price = 0',
                'no customer_id': 'customer_id is null',
            },
        ) }} as refused_because
    from typed

)

select * from judged
