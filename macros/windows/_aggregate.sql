{#- One declared aggregate over rows that pass `filter`, as SQL (rules 5 and 6).

    NULL values are left out, as SQL's own aggregates do; `count` without a value counts events. A sum is DECIMAL or
    integer; a DOUBLE is rounded to the declared scale first. A mean is finalised from exact states:
    sum / count, both exact, divided once as DOUBLE. -#}
{% macro _aggregate(feature, filter, order_by) %}
    {%- set value = feature.get('value') -%}
    {%- if feature.get('scale') is not none -%}
        {%- set value = "cast(" ~ value ~ " as decimal(18, " ~ feature.scale ~ "))" -%}
    {%- endif -%}
    {%- set where = " filter (where " ~ filter ~ ")" -%}
    {%- set sums = "sum(" ~ value ~ ")" ~ where -%}
    {%- set counts = "count(" ~ (value or '*') ~ ")" ~ where -%}
    {%- set sql = {
        'count': counts,
        'count_distinct': "count(distinct " ~ value ~ ")" ~ where,
        'sum': sums,
        'mean': "(cast(" ~ sums ~ " as double) / nullif(" ~ counts ~ ", 0))",
        'min': "min(" ~ value ~ ")" ~ where,
        'max': "max(" ~ value ~ ")" ~ where,
        'last': "arg_max(" ~ value ~ ", " ~ order_by ~ ")" ~ where,
    } -%}
    {%- if feature.aggregate not in sql -%}
        {{ exceptions.raise_compiler_error(
            "an aggregate is one of " ~ (sql | list | join(', ')) ~ ", got: " ~ feature.aggregate
        ) }}
    {%- endif -%}
    {%- if value is none and feature.aggregate != 'count' -%}
        {{ exceptions.raise_compiler_error(feature.aggregate ~ " needs a value (meta.feature.value)") }}
    {%- endif -%}
    {{ return(sql[feature.aggregate]) }}
{% endmacro %}
