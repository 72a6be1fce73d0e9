{#- Tiles of a feature table's events: for each entity and stretch of time the partial state of every aggregate it declares
    (rules 6 and 7). The whole of a model, which the feature table passes to `windows(..., tiles=ref('this_model'))`.

    The rows are a function of the events and the run's cut-off. How a run gets there, from what the table holds or from
    nothing, is for the materialization to decide: it narrows the events at the marked place.

    events: ref() of accepted, de-duplicated events with the join keys, the same that `windows` is given.
    event_at, ingested_at, event_id: the columns that give the total order of rule 8. -#}
{% macro tiles(events, event_at='event_at', ingested_at='ingested_at', event_id='event_id') %}
    {{- config(materialized='tiled', contract={'enforced': false}) -}}
    {%- if not execute -%}
        {%- do featmill.cut_off() -%}
        {{ return("select * from " ~ events) }}
    {%- endif -%}
    {%- set node = featmill._tiled_table() -%}
    {%- set features = featmill._declared_windows(node) -%}
    {%- do featmill._require_exact_states(events, features) -%}
    {%- set plan = featmill._tile_plan(featmill._feature_table(node), features, event_at, ingested_at, event_id) -%}
    {%- if flags.WHICH in ['build', 'run'] -%}
        {%- do featmill._pin(model.unique_id ~ ':tiles', dict(plan, events=events | string)) -%}
    {%- endif -%}
    {{ return(featmill._tiles_sql(plan, events, featmill.cut_off())) }}
{% endmacro %}
