{#- The join of a view's absences to the labels; nothing where the view has none. moment: SQL of the labels' time. At most one stretch holds a moment. -#}
{% macro _portable_gone_join(view, number, labels, moment, engine) -%}
    {%- if view['gone'] is defined -%}
    {%- set gone = 'gone_' ~ number -%}
    left join {{ gone }} on
        {%- for key in view['keys'] %} {{ labels }}.{{ featmill._quoted(key, engine) }} = {{ gone }}.{{ featmill._quoted(key, engine) }} and{% endfor %}
        {{ moment }} >= {{ gone }}.gone_since and {{ moment }} < {{ gone }}.gone_until
    {%- endif -%}
{%- endmacro %}
