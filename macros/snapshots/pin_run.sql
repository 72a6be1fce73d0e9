{#- on-run-start: refuse to run without featmill's plug-in, and settle before any model what the whole run shares: the
    declarations of the feature tables (a unit test sees no graph) and, where feature tables are built, as_of and
    cut-off. -#}
{% macro pin_run() %}
    {%- if not execute or flags.WHICH not in ['build', 'run', 'test'] -%}{{ return('') }}{%- endif -%}
    {%- set declared = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and featmill._feature_table(node) -%}
        {%- do declared.append(node) -%}
    {%- endfor -%}
    {%- if not declared -%}{{ return('') }}{%- endif -%}
    {%- do featmill._require_plugin() -%}
    {%- for node in declared -%}
        {%- set kept = {'columns': node.columns, 'config': {'event_time': node.config.event_time, 'meta': node.config.meta}} -%}
        {%- do featmill._pin(node.unique_id, kept) -%}
    {%- endfor -%}
    {%- if declared | map(attribute='unique_id') | select('in', selected_resources) | list -%}
        {%- do featmill._pin_sources() -%}
        {%- set moments = featmill._run_moments() -%}
        {{ log("featmill: as_of " ~ moments.as_of ~ " UTC, rows ingested up to " ~ moments.cut_off, info=true) }}
    {%- endif -%}
{% endmacro %}
