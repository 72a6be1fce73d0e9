{#- Write a model's rows as a Parquet file, in the order they are stored: a spine for `featmill train --model`.

    `dbt run-operation featmill.write_model --args '{model: trn_labels, path: /tmp/labels.parquet}'`. Only dbt opens the
    build database, so only dbt can hand its rows out. -#}
{% macro write_model(model, path) %}
    {%- set found = [] -%}
    {%- for node in graph.nodes.values() if node.name == model and node.resource_type == 'model' -%}
        {%- do found.append(node) -%}
    {%- endfor -%}
    {%- if found | length != 1 -%}
        {{ exceptions.raise_compiler_error("there is " ~ ("no" if not found else "more than one") ~ " model " ~ model) }}
    {%- endif -%}
    {%- do run_query("copy (select * from " ~ found[0].relation_name ~ ") to '" ~ (path | replace("'", "''")) ~ "' (format parquet)") -%}
{% endmacro %}
