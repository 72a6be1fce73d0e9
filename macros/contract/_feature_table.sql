{#- The `feature_table` declaration of a graph node, or none. -#}
{% macro _feature_table(node) %}
    {{ return((node.config.meta or {}).get('feature_table')) }}
{% endmacro %}
