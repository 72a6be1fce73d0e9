{#- Conditions that each row keeps, by name. A row of the result is a broken condition and how many rows break it; a
    condition that is NULL is broken too.

    conditions: {what must hold, in words: SQL condition over the model's columns}. -#}
{% test holds(model, conditions) %}
    with broken as (
        select unnest([
            {%- for name, condition in conditions.items() %}
            case when ({{ condition }}) is not true then '{{ name | replace("'", "''") }}' end
            {{- ',' if not loop.last }}
            {%- endfor %}
        ]) as condition
        from {{ model }}
    )
    select
        condition,
        count(*) as row_count
    from broken
    where condition is not null
    group by condition
{% endtest %}
