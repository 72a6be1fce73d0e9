{#- A duration such as `7d`, `1h` or `90s` in microseconds (rule 1: exact seconds). -#}
{% macro _microseconds(duration) %}
    {%- set units = {'s': 1000000, 'm': 60000000, 'h': 3600000000, 'd': 86400000000} -%}
    {%- set text = duration | string | trim -%}
    {%- if not modules.re.fullmatch('[0-9]+[smhd]', text) -%}
        {{ exceptions.raise_compiler_error(
            "a duration is a whole number and one of s, m, h, d (such as 7d), got: " ~ duration
        ) }}
    {%- endif -%}
    {{ return((text[:-1] | int) * units[text[-1]]) }}
{% endmacro %}
