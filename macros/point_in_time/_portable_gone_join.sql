{#- The join of a view's absences to the labels; nothing where the view has none. At most one stretch holds a moment. -#}
{% macro _portable_gone_join(view, number, labels, time) -%}
    {%- if view['gone'] is defined -%}
    {%- set gone = 'gone_' ~ number -%}
    left join {{ gone }} on
        {%- for key in view['keys'] %} {{ labels }}.{{ key }} = {{ gone }}.{{ key }} and{% endfor %}
        {{ labels }}.{{ time }} >= {{ gone }}.gone_since and {{ labels }}.{{ time }} < {{ gone }}.gone_until
    {%- endif -%}
{%- endmacro %}
