{#- Refuse to publish what this command cannot have tested. What it selected is judged by the plug-in. -#}
{% macro _require_gate(name) %}
    {%- set how = " Build it with its tests: dbt build -s +" ~ name -%}
    {%- if flags.WHICH != 'build' -%}
        {{ exceptions.raise_compiler_error(
            name ~ " is not published by dbt " ~ flags.WHICH ~ ": only dbt build runs the tests first." ~ how
        ) }}
    {%- endif -%}
    {%- if flags.EMPTY or invocation_args_dict.get('sample') -%}
        {{ exceptions.raise_compiler_error(
            name ~ " is not published with --empty or --sample: a snapshot holds every entity (rule 20)." ~ how
        ) }}
    {%- endif -%}
    {%- if flags.DEFER -%}
        {{ exceptions.raise_compiler_error(
            name ~ " is not published with --defer: its rows would come from another environment's tables." ~ how
        ) }}
    {%- endif -%}
{% endmacro %}
