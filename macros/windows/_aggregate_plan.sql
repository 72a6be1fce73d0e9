{#- What a declared aggregate is made of: partial states, their merge, and the one expression that finalises them
    (rules 5 and 6).

    Returns a dict:
    states: a list of {name, of, merge, settle}. `of` is ONE aggregate call over event rows and `merge` ONE over the
      state's column `{}`, so that a FILTER may follow either. `settle` makes a state of the merge's result, `{}`, again.
    where: none, or one more condition on the event rows.
    finalise: the value from the states, `{name}` each: a state as it is computed, or settled. It mentions each state
      outside of any lambda, so an aggregate call may stand there. No state (no event) finalises as an empty window.
    exact: whether merging loses nothing; it is so for every aggregate here.
    direct: none, or ONE aggregate call over event rows that gives the same value in one step.

    feature: the column's meta.feature with its name and data_type. order_by: the row (event_at, ingested_at, event_id)
    of rule 8. moment: the moment the window is evaluated at. NULL values are left out, as in SQL. -#}
{% macro _aggregate_plan(feature, order_by, moment) %}
    {%- set kind = feature.aggregate -%}
    {%- set value = featmill._aggregate_value(feature, 'value') -%}
    {%- set of = featmill._aggregate_value(feature, 'of') -%}
    {%- set n = feature.get('n') -%}
    {%- set present = value ~ " is not null" if value else none -%}
    {%- set scale = feature.get('scale') -%}
    {#- Squares are taken of HUGEINTs (10^scale times the value) or of DECIMALs: an INTEGER's overflows at 46341. -#}
    {%- set whole = "cast(" ~ value ~ " * 1" ~ "0" * (scale or 0) ~ " as hugeint)" if scale is not none
        else "(" ~ value ~ " * cast(1 as decimal(1, 0)))" -%}
    {%- set count = {'name': 'n', 'of': "count(" ~ (value or '*') ~ ")", 'merge': "sum({})", 'settle': "{}"} -%}
    {%- set sum = {'name': 'total', 'of': "sum(" ~ value ~ ")", 'merge': "sum({})", 'settle': "{}"} -%}
    {%- set placed = "struct_pack(place := " ~ order_by ~ ", held := " ~ value ~ ")" -%}
    {%- set one = {'name': 'held', 'settle': "{}"} -%}
    {%- set plans = {
        'count': {'states': [count], 'finalise': "coalesce(cast({n} as bigint), 0)", 'direct': count.of},
        'count_distinct': {
            'states': [dict(one, of="list(distinct " ~ value ~ ")", merge="list({})", settle="list_distinct(flatten({}))")],
            'where': present, 'finalise': "coalesce(len({held}), 0)", 'direct': "count(distinct " ~ value ~ ")"},
        'sum': {'states': [sum], 'finalise': "{total}", 'direct': sum.of},
        'mean': {'states': [sum, count], 'finalise': "(cast({total} as double) / nullif({n}, 0))"},
        'min': {'states': [dict(one, of="min(" ~ value ~ ")", merge="min({})")], 'finalise': "{held}"},
        'max': {'states': [dict(one, of="max(" ~ value ~ ")", merge="max({})")], 'finalise': "{held}"},
        'std': {
            'states': [count, dict(sum, of="sum(" ~ whole ~ ")"), dict(sum, name='squares', of="sum(" ~ whole ~ " * " ~ whole ~ ")")],
            'finalise': "(case when {n} > 1 then sqrt(cast({n} * {squares} - {total} * {total} as double)"
                ~ " / (cast({n} as double) * ({n} - 1)))" ~ (" / 1e" ~ scale if scale else "") ~ " end)"},
        'first': {
            'states': [dict(one, of="min(" ~ placed ~ ")", merge="min({})")], 'where': present,
            'finalise': "struct_extract({held}, 'held')", 'direct': "arg_min(" ~ value ~ ", " ~ order_by ~ ")"},
        'last': {
            'states': [dict(one, of="max(" ~ placed ~ ")", merge="max({})")], 'where': present,
            'finalise': "struct_extract({held}, 'held')", 'direct': "arg_max(" ~ value ~ ", " ~ order_by ~ ")"},
        'last_n': {
            'states': [dict(one, of="max(" ~ placed ~ ", " ~ n ~ ")", merge="list({})",
                settle="list_slice(list_sort(flatten({}), 'DESC'), 1, " ~ n ~ ")")],
            'where': present, 'finalise': "list_transform(nullif({held}, []), lambda one: struct_extract(one, 'held'))",
            'direct': "arg_max(" ~ value ~ ", " ~ order_by ~ ", " ~ n ~ ")"},
        'ratio': {
            'states': [sum, {'name': 'base', 'of': "sum(" ~ of ~ ")", 'merge': "sum({})", 'settle': "{}"}],
            'finalise': "(cast({total} as double) / nullif(cast({base} as double), 0))"},
        'time_since_last': {
            'states': [dict(one, of="max(struct_extract(" ~ order_by ~ ", 1))", merge="max({})")], 'where': present,
            'finalise': "((epoch_us(" ~ moment ~ ") - epoch_us({held})) // 1000000)"},
        'top': {
            'states': [dict(one, of="histogram(" ~ value ~ ")", merge="list({})", settle="list_aggregate(flatten(list_transform("
                ~ "flatten(list_transform({}, lambda part: map_entries(part))),"
                ~ " lambda entry: repeat([entry.key], cast(entry.value as bigint)))), 'histogram')")],
            'where': present,
            'finalise': "struct_extract(list_min(list_transform(map_entries({held}),"
                ~ " lambda entry: struct_pack(fewer := -cast(entry.value as bigint), held := entry.key))), 'held')",
            'direct': "mode(" ~ value ~ " order by " ~ value ~ ")"},
    } -%}
    {%- do featmill._require_aggregate(feature, plans | list) -%}
    {{ return(dict({'where': none, 'direct': none, 'exact': true}, **plans[kind])) }}
{% endmacro %}
