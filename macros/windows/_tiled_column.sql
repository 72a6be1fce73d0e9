{#- One declared column as SQL over the parts of its events: the states of the parts in its window merged, finalised, with its
    default and its contract type. A part lies wholly inside a window or outside it, so its start tells which. -#}
{% macro _tiled_column(feature, table, plan, as_of) %}
    {%- set aggregate = featmill._aggregate_plan(feature, plan.order_by, as_of) -%}
    {%- set inside = featmill._window_filter(dict(feature, where=none), table, 'part.part_start', as_of) -%}
    {%- set settled = {} -%}
    {%- for state in aggregate.states -%}
        {%- set merged = (state.merge | replace('{}', 'part.' ~ plan.features[feature.name][state.name])) ~ " filter (where " ~ inside ~ ")" -%}
        {%- do settled.update({state.name: state.settle | replace('{}', merged)}) -%}
    {%- endfor -%}
    {{ return(featmill._finished_column(feature, aggregate.finalise.format(**settled))) }}
{% endmacro %}
