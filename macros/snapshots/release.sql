{#- on-run-end: where every publish node of the project has a snapshot at this run's as_of and nothing that they descend
    from failed in this run, commit the release.

    What comes after publishing, such as a training model, holds no release back. -#}
{% macro release() %}
    {%- if not execute or flags.WHICH != 'build' -%}{{ return('') }}{%- endif -%}
    {%- set nodes = [] -%}
    {%- set behind = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.config.materialized == 'published' -%}
        {%- do nodes.append(node.unique_id) -%}
        {%- do behind.extend([node.unique_id] + featmill._ancestors(node)) -%}
    {%- endfor -%}
    {%- set ran = results | map(attribute='node.unique_id') | list -%}
    {%- if not nodes | select('in', ran) | list -%}{{ return('') }}{%- endif -%}
    {%- set failed = [] -%}
    {%- for result in results if result.status | string in ['error', 'fail', 'runtime error'] -%}
        {%- set touched = [result.node.unique_id] + (result.node.depends_on.nodes | list) -%}
        {%- if touched | select('in', behind) | list -%}{%- do failed.append(result.node.name) -%}{%- endif -%}
    {%- endfor -%}
    {%- if failed -%}
        {{ log("featmill: no release: " ~ (failed | join(', ')) ~ " failed; the previous release stays the newest", info=true) }}
        {{ return('') }}
    {%- endif -%}
    {%- set order = tojson({'as_of': featmill._run_moments().as_of, 'nodes': nodes, 'project': project_name}) | replace("'", "''") -%}
    {%- set said = run_query("select featmill_release('" ~ order ~ "')").columns[0].values()[0] -%}
    {{ log("featmill: " ~ said, info=true) }}
{% endmacro %}
