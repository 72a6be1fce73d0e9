{#- on-run-end: where every publish node of the project has a snapshot at this run's as_of and no feature table, test or
    publish node of the run failed, commit the release. -#}
{% macro release() %}
    {%- if not execute or flags.WHICH != 'build' -%}{{ return('') }}{%- endif -%}
    {%- set nodes = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.config.materialized == 'published' -%}
        {%- do nodes.append(node.unique_id) -%}
    {%- endfor -%}
    {%- set touched = [] -%}
    {%- set failed = [] -%}
    {%- for result in results -%}
        {%- if result.node.unique_id in nodes -%}{%- do touched.append(result.node.unique_id) -%}{%- endif -%}
        {%- if result.status | string in ['error', 'fail', 'skipped', 'runtime error'] -%}
            {%- do failed.append(result.node.name) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if not touched -%}{{ return('') }}{%- endif -%}
    {%- if failed -%}
        {{ log("featmill: no release: " ~ (failed | join(', ')) ~ " did not pass; the previous release stays the newest", info=true) }}
        {{ return('') }}
    {%- endif -%}
    {%- set order = tojson({'as_of': featmill._run_moments().as_of, 'nodes': nodes, 'project': project_name}) | replace("'", "''") -%}
    {%- set said = run_query("select featmill_release('" ~ order ~ "')").columns[0].values()[0] -%}
    {{ log("featmill: " ~ said, info=true) }}
{% endmacro %}
