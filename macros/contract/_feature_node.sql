{#- The declaration of the model being compiled, as `{columns, config}`; inside a unit test, of the model under test. -#}
{% macro _feature_node() %}
    {%- if model.resource_type != 'unit_test' -%}{{ return(graph.nodes[model.unique_id]) }}{%- endif -%}
    {%- set declared = featmill._pinned(model.tested_node_unique_id) -%}
    {%- if declared is none -%}
        {{ exceptions.raise_compiler_error(
            model.name ~ ": the model under test declares no feature table, or the project's on-run-start hook did not run"
        ) }}
    {%- endif -%}
    {{ return(declared) }}
{% endmacro %}
