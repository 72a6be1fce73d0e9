{#- `{as_of, cut_off}` of this run as UTC timestamp texts: found once, then the same for every node of the run.

    A unit test has no sources to ask: it gives FEATMILL_AS_OF under `overrides.env_vars`. -#}
{% macro _run_moments() %}
    {%- set given_as_of = env_var('FEATMILL_AS_OF', '') -%}
    {%- set given_cut_off = env_var('FEATMILL_CUT_OFF', '') -%}
    {%- if model is defined and model.resource_type == 'unit_test' -%}
        {%- if not given_as_of -%}
            {{ exceptions.raise_compiler_error(
                "a unit test of a feature table gives the moment it computes at: overrides: {env_vars: "
                ~ "{FEATMILL_AS_OF: '2026-01-31'}}"
            ) }}
        {%- endif -%}
        {{ return({
            'as_of': featmill._parse_moment(given_as_of, 'FEATMILL_AS_OF'),
            'cut_off': featmill._parse_moment(given_cut_off, 'FEATMILL_CUT_OFF') if given_cut_off else 'infinity',
        }) }}
    {%- endif -%}
    {%- set pinned = featmill._pinned('moments') -%}
    {%- if pinned is not none -%}{{ return(pinned) }}{%- endif -%}
    {%- set moments = featmill._find_moments(given_as_of, given_cut_off) -%}
    {%- do featmill._pin('moments', moments) -%}
    {{ return(moments) }}
{% endmacro %}
