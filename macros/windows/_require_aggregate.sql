{#- Refuse a feature whose aggregate is unknown or lacks what it works on; `featmill check` says it with file and line. -#}
{% macro _require_aggregate(feature, known) %}
    {%- set name = feature.get('name') or 'a feature' -%}
    {%- if feature.aggregate not in known -%}
        {{ exceptions.raise_compiler_error(
            name ~ ": an aggregate is one of " ~ (known | join(', ')) ~ ", got: " ~ feature.aggregate
        ) }}
    {%- endif -%}
    {%- if feature.get('value') is none and feature.aggregate not in ['count', 'time_since_last'] -%}
        {{ exceptions.raise_compiler_error(name ~ ": " ~ feature.aggregate ~ " needs a value (meta.feature.value)") }}
    {%- endif -%}
    {%- if feature.aggregate == 'ratio' and feature.get('of') is none -%}
        {{ exceptions.raise_compiler_error(name ~ ": ratio needs what it is divided by (meta.feature.of)") }}
    {%- endif -%}
    {%- if feature.aggregate == 'last_n' and (feature.get('n') is not integer or feature.n < 1) -%}
        {{ exceptions.raise_compiler_error(name ~ ": last_n needs how many, 1 or more (meta.feature.n: 5)") }}
    {%- endif -%}
{% endmacro %}
