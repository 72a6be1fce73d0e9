{#- A point-in-time training set over published feature tables, in a model of yours (rules 12 to 15).

    spine: ref() of the labels. time: its column with the moment of each row, UTC. features: a list of
    {'table': ref() of a published table, 'features': [names]}; without `features`, all of the table's.
    status: also add `<table>__status` and the event time that was found. On DuckDB the rows are in the spine's order. -#}
{% macro point_in_time(spine, time, features, status=false) %}
    {%- if not execute -%}{{ return("select * from " ~ spine) }}{%- endif -%}
    {%- set views = [] -%}
    {%- set keys = [] -%}
    {%- for wanted in features -%}
        {%- set view = featmill._view(wanted.table, wanted.get('features')) -%}
        {%- do views.append(view) -%}
        {%- for key in view['keys'] if key not in keys -%}{%- do keys.append(key) -%}{%- endfor -%}
    {%- endfor -%}
    {{ return(featmill.lookup_sql(spine, time, keys, views, status)) }}
{% endmacro %}
