{#- The newest `ingested_at` this run may read, as a UTC timestamp literal (rule 9).

    FEATMILL_CUT_OFF where it is set, else the newest in the sources. -#}
{% macro cut_off() %}
    {%- if not execute -%}
        {%- do env_var('FEATMILL_CUT_OFF', '') -%}
        {{ return("timestamp '1970-01-01 00:00:00' /* featmill:cut_off */") }}
    {%- endif -%}
    {{ return("timestamp '" ~ featmill._run_moments().cut_off ~ "' /* featmill:cut_off */") }}
{% endmacro %}
