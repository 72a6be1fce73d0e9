{#- Columns' names as SQL identifiers, in a list with commas. Plain Jinja. -#}
{% macro _quoted_list(names, engine=none) %}
    {%- set found = [] -%}
    {%- for name in names -%}{%- do found.append(featmill._quoted(name, engine)) -%}{%- endfor -%}
    {{ return(found | join(', ')) }}
{% endmacro %}
