{#- The whole of a publish node: `{% raw %}{{ featmill.publish(ref('feat_x')) }}{% endraw %}`.

    The node's own name is what readers know the table by. It runs in `dbt build` once every test of its feature table
    has passed, and appends one immutable snapshot to the lake (rules 19 and 20). -#}
{% macro publish(feature_table) %}
    {{- config(materialized='published', contract={'enforced': false}) -}}
    select * from {{ feature_table }}
{% endmacro %}
