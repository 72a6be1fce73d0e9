{#- The test every feature table needs, derived from its declaration: no NULL key or time, one row per key and time, no
    row valid from after this run's as_of. A row of the result is a violation. -#}
{% test feature_table(model) %}
    {%- if not execute -%}
        {%- do featmill.as_of() -%}
        {{ return("select * from " ~ model ~ " where false") }}
    {%- endif -%}
    {%- set tested = [] -%}
    {%- for unique_id in context.model.depends_on.nodes if featmill._feature_table(graph.nodes[unique_id]) -%}
        {%- do tested.append(graph.nodes[unique_id]) -%}
    {%- endfor -%}
    {%- if not tested -%}
        {{ exceptions.raise_compiler_error("featmill.feature_table tests a model without config.meta.feature_table: " ~ model) }}
    {%- endif -%}
    {%- set keys = [] -%}
    {%- for key in featmill._feature_table(tested[0]).join_keys -%}{%- do keys.append(featmill._quoted(key)) -%}{%- endfor -%}
    {%- set event_time = featmill._quoted(tested[0].config.event_time) -%}
    select {{ keys | join(', ') }}, {{ event_time }}, count(*) as row_count
    from {{ model }}
    group by {{ keys | join(', ') }}, {{ event_time }}
    having
        count(*) > 1
        or {{ event_time }} is null
        or {{ event_time }} > {{ featmill.as_of() }}
        {%- for key in keys %}
        or {{ key }} is null
        {%- endfor %}
{% endtest %}
