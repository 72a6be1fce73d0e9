{#- The windows of a published table at each row's own time, in a model of yours: from the events, not from snapshots (rule 4).

    The answer has the spine's rows in its order, then `view__feature` columns. Events ingested after this run's cut-off
    are not read.

    spine: ref() of the labels. time: its column with the moment of each row, UTC. table: ref() of the published table that
    declares the windows. events: ref() of its accepted, de-duplicated events. features: names; all windows without it.
    event_at, ingested_at, event_id: the columns that give the total order of rule 8. status: add `view__status`. -#}
{% macro windows_at(
    spine, time, table, events, features=none, event_at='event_at', ingested_at='ingested_at', event_id='event_id', status=false
) %}
    {%- if not execute -%}
        {%- do featmill.cut_off() -%}
        {{ return("select * from " ~ spine ~ " cross join " ~ table ~ " cross join " ~ events) }}
    {%- endif -%}
    {%- set declared = featmill._windowed_view(table, features) -%}
    {%- set types = declared['key_types'] -%}
    {%- set kinds = [] -%}
    {%- for key in declared['keys'] if key in types -%}{%- do kinds.append(" and " ~ featmill._same_key_family(key, types[key], 'the events')) -%}{%- endfor -%}
    {%- set read = "(select * from " ~ events ~ " where " ~ featmill._quoted(ingested_at) ~ " <= " ~ featmill.cut_off() ~ kinds | join ~ ")" -%}
    {%- set view = dict(declared, events=read, event_at=event_at, ingested_at=ingested_at, event_id=event_id) -%}
    {{ return(featmill.windows_at_sql(featmill.spine_sql(spine, time, view['keys'], types), time, view, status)) }}
{% endmacro %}
