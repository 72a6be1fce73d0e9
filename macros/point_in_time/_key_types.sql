{#- The declared data_type of each join key of a feature table, from its candidate. -#}
{% macro _key_types(candidate, keys) %}
    {%- set found = {} -%}
    {%- for key in keys if key in candidate.columns and candidate.columns[key].data_type -%}
        {%- do found.update({key: candidate.columns[key].data_type}) -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}
