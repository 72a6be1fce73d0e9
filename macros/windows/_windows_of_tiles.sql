{#- The rows of `windows` from tiles, equal to the bit to what the events alone give: the columns that are tiled from these, the
    others from the events of their windows. What an empty window comes to is asked of no events at all. -#}
{% macro _windows_of_tiles(node, tiles, events, entities, plan, features) -%}
    {%- set table = featmill._feature_table(node) -%}
    {%- set tiled, untiled = [], [] -%}
    {%- for feature in features -%}{%- do (tiled if featmill._is_tiled(feature) else untiled).append(feature) -%}{%- endfor -%}
    {%- set from_tiles = featmill._tiled_windows(node, tiles, events, entities, plan, tiled) -%}
    {%- if not untiled -%}{{ return(from_tiles) }}{%- endif -%}
    {%- set as_of = featmill.as_of() -%}
    select
        {%- for key in plan['keys'] %}
        tiled.{{ key }},
        {%- endfor %}
        tiled.{{ featmill._quoted(node.config.event_time) }}
        {%- for feature in features %},
        {%- set name = featmill._quoted(feature.name) %}
        {% if feature in tiled -%}
        tiled.{{ name }}
        {%- else -%}
        case when untiled.featmill_found then untiled.{{ name }} else (
            select {{ featmill._windowed_column(feature, table, "event." ~ plan.event_at, as_of, plan.order_by) }}
            from {{ events }} as event where false
        ) end as {{ name }}
        {%- endif %}
        {%- endfor %}
    from ({{ from_tiles }}) as tiled
    left join (select *, true as featmill_found from ({{ featmill._untiled_windows(table, events, plan, untiled) }})) as untiled
        on {% for key in plan['keys'] %}tiled.{{ key }} is not distinct from untiled.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
{%- endmacro %}
