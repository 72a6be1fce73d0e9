{#- One declared aggregate over the event rows that pass `filter`, as SQL: the plan's short cut, or its states finalised.

    See _aggregate_plan for the arguments. -#}
{% macro _aggregate(feature, filter, order_by, moment) %}
    {%- set plan = featmill._aggregate_plan(feature, order_by, moment) -%}
    {%- set where = " filter (where " ~ filter ~ (" and " ~ plan.where if plan.where else "") ~ ")" -%}
    {%- if plan.direct -%}{{ return(plan.direct ~ where) }}{%- endif -%}
    {%- set sql = {} -%}
    {%- for state in plan.states -%}{%- do sql.update({state.name: state.of ~ where}) -%}{%- endfor -%}
    {{ return(plan.finalise.format(**sql)) }}
{% endmacro %}
