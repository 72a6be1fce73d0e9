{#- The sources that feature tables descend from. -#}
{% macro _feature_sources() %}
    {%- set queue = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and featmill._feature_table(node) -%}
        {%- do queue.append(node.unique_id) -%}
    {%- endfor -%}
    {%- set seen = {} -%}
    {%- set found = [] -%}
    {#- Appending to the list that is walked is what makes this a breadth-first walk: Jinja has no while. -#}
    {%- for unique_id in queue if unique_id not in seen -%}
        {%- do seen.update({unique_id: true}) -%}
        {%- if unique_id in graph.sources -%}
            {%- do found.append(graph.sources[unique_id]) -%}
        {%- elif unique_id in graph.nodes -%}
            {%- do queue.extend(graph.nodes[unique_id].depends_on.nodes) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}
