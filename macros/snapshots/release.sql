{#- on-run-end: remember what passed; then, where this run touched a publish node, commit the release, or say why not.

    Nothing that a publish node descends from may have failed. What comes after publishing, such as a training model,
    holds no release back. Without a release the published views show what was released before. -#}
{% macro release() %}
    {%- if not execute or flags.WHICH != 'build' -%}{{ return('') }}{%- endif -%}
    {%- set passed = [] -%}
    {%- set failed = [] -%}
    {%- set published = [] -%}
    {%- for result in results -%}
        {%- set unique_id = result.node.unique_id -%}
        {%- if result.status | string in ['success', 'pass', 'warn'] -%}{%- do passed.append(unique_id) -%}{%- endif -%}
        {%- if result.status | string in ['error', 'fail', 'runtime error'] -%}{%- do failed.append(unique_id) -%}{%- endif -%}
        {%- if unique_id in graph.nodes and graph.nodes[unique_id].config.materialized == 'published' -%}
            {%- do published.append(unique_id) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if not featmill._feature_sources() -%}{{ return('') }}{%- endif -%}
    {%- do run_query("select featmill_confirm('" ~ invocation_id ~ "', '" ~ tojson(passed) ~ "')") -%}
    {%- if not published -%}{{ return('') }}{%- endif -%}
    {%- set answer = fromjson(run_query(
        "select featmill_release('" ~ invocation_id ~ "', '" ~ featmill._run_moments().as_of ~ "', '" ~ tojson(failed) ~ "')"
    ).columns[0].values()[0]) -%}
    {%- for unique_id, sql in answer.views.items() -%}
        {%- do run_query("create or replace view " ~ graph.nodes[unique_id].relation_name ~ " as " ~ sql) -%}
    {%- endfor -%}
    {%- if answer.views -%}{%- do adapter.commit() -%}{%- endif -%}
    {{ log("featmill: " ~ answer.said, info=true) }}
{% endmacro %}
