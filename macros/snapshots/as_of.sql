{#- The moment this run computes features at, as a UTC timestamp literal (rules 2 and 4).

    FEATMILL_AS_OF where it is set; else the newest UTC midnight not after the newest `loaded_at_field` of the sources
    that feature tables descend from. Never the clock. The trailing comment lets the fingerprint leave it out. -#}
{% macro as_of() %}
    {%- if not execute -%}
        {%- do env_var('FEATMILL_AS_OF', '') -%}
        {{ return("timestamp '1970-01-01 00:00:00' /* featmill:as_of */") }}
    {%- endif -%}
    {{ return("timestamp '" ~ featmill._run_moments().as_of ~ "' /* featmill:as_of */") }}
{% endmacro %}
