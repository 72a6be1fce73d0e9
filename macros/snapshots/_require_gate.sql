{#- Refuse to publish unless every data test of the feature table is part of this `dbt build` and runs before us.

    `dbt run`, `dbt retry` and `dbt build -s <publish node>` would publish untested rows. A test that also reads a model
    the publish node does not descend from is scheduled by dbt after it: it could fail once the rows are out. -#}
{% macro _require_gate(node, candidate) %}
    {%- set how = " Build it with its tests: dbt build -s +" ~ node.name -%}
    {%- if flags.WHICH != 'build' -%}
        {{ exceptions.raise_compiler_error(
            node.name ~ " is not published by dbt " ~ flags.WHICH ~ ": only dbt build runs the tests first." ~ how
        ) }}
    {%- endif -%}
    {%- if flags.EMPTY or invocation_args_dict.get('sample') -%}
        {{ exceptions.raise_compiler_error(
            node.name ~ " is not published with --empty or --sample: a snapshot holds every entity (rule 20)." ~ how
        ) }}
    {%- endif -%}
    {%- set tests = [] -%}
    {%- for test in graph.nodes.values() if test.resource_type == 'test' and candidate.unique_id in test.depends_on.nodes -%}
        {%- if node.unique_id not in test.depends_on.nodes -%}{%- do tests.append(test) -%}{%- endif -%}
    {%- endfor -%}
    {%- if not tests -%}
        {{ exceptions.raise_compiler_error(
            candidate.name ~ " has no data test, so nothing gates what " ~ node.name ~ " would publish: add at least "
            ~ "data_tests: [featmill.feature_table]"
        ) }}
    {%- endif -%}
    {%- if candidate.unique_id not in selected_resources -%}
        {{ exceptions.raise_compiler_error(
            node.name ~ " is not published: " ~ candidate.name ~ " is not part of this build." ~ how
        ) }}
    {%- endif -%}
    {%- set ancestors = featmill._ancestors(node) -%}
    {%- for test in tests -%}
        {%- if test.unique_id not in selected_resources -%}
            {{ exceptions.raise_compiler_error(
                node.name ~ " is not published: its test " ~ test.name ~ " is not part of this build." ~ how
            ) }}
        {%- endif -%}
        {%- for parent in test.depends_on.nodes if parent not in ancestors -%}
            {{ exceptions.raise_compiler_error(
                node.name ~ " is not published: its test " ~ test.name ~ " also reads " ~ parent ~ ", so dbt would run it "
                ~ "after publishing. Add to " ~ node.name ~ ": -- depends_on: {{ ref('" ~ parent.split('.')[2] ~ "') }}"
            ) }}
        {%- endfor -%}
    {%- endfor -%}
{% endmacro %}
