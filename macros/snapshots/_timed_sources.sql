{#- The sources that feature tables descend from and that declare dbt's `loaded_at_field`. -#}
{% macro _timed_sources() %}
    {%- set queue = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and featmill._feature_table(node) -%}
        {%- do queue.append(node.unique_id) -%}
    {%- endfor -%}
    {%- set seen = {} -%}
    {%- set timed = [] -%}
    {#- Appending to the list that is walked is what makes this a breadth-first walk: Jinja has no while. -#}
    {%- for unique_id in queue if unique_id not in seen -%}
        {%- do seen.update({unique_id: true}) -%}
        {%- if unique_id in graph.sources -%}
            {%- set source = graph.sources[unique_id] -%}
            {%- if source.loaded_at_field -%}{%- do timed.append(source) -%}{%- endif -%}
        {%- elif unique_id in graph.nodes -%}
            {%- do queue.extend(graph.nodes[unique_id].depends_on.nodes) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(timed) }}
{% endmacro %}
