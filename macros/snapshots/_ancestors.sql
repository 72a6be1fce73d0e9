{#- The unique ids a node descends from, nearest first. -#}
{% macro _ancestors(node) %}
    {%- set queue = node.depends_on.nodes | list -%}
    {%- set seen = [] -%}
    {%- for unique_id in queue if unique_id not in seen -%}
        {%- do seen.append(unique_id) -%}
        {%- if unique_id in graph.nodes -%}
            {%- do queue.extend(graph.nodes[unique_id].depends_on.nodes) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(seen) }}
{% endmacro %}
