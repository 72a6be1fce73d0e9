{#- The expression a feature aggregates (its `value`, or `of` of a ratio) as SQL, or none: rounded to the declared
    scale (rule 6).

    A DOUBLE that is compared loses the sign of its zero: -0.0 and 0.0 are one value, and which is met first is chance. -#}
{% macro _aggregate_value(feature, key) %}
    {%- set value = feature.get(key) -%}
    {%- if value is none -%}{{ return(none) }}{%- endif -%}
    {%- if feature.get('scale') is not none -%}
        {{ return("cast(" ~ value ~ " as decimal(18, " ~ feature.scale ~ "))") }}
    {%- endif -%}
    {%- set type = feature.get('data_type') | string | lower -%}
    {%- if feature.aggregate in ['min', 'max', 'top'] and type in ['double', 'float', 'float8', 'float4', 'real'] -%}
        {{ return("((" ~ value ~ ") + cast(0 as " ~ type ~ "))") }}
    {%- endif -%}
    {{ return("(" ~ value ~ ")") }}
{% endmacro %}
