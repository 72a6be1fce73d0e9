{#- Read the sources' bounds and decide as_of and cut-off from them and what was given (rules 2 and 9).

    Before the data means: not after the first event of any source, by dbt's `event_time` of the sources that declare it.
    Where none does, the first ingested row has to stand in, and a history that was loaded in one go is refused. -#}
{% macro _find_moments(given_as_of, given_cut_off) %}
    {%- set timed = featmill._feature_sources() | selectattr('loaded_at_field') | list -%}
    {%- if not timed -%}
        {{ exceptions.raise_compiler_error(
            "no source of a feature table declares loaded_at_field, so there is no as_of to derive: declare it on the "
            ~ "source (config: {loaded_at_field: ingested_at}) or set FEATMILL_AS_OF and FEATMILL_CUT_OFF"
        ) }}
    {%- endif -%}
    {%- set bounds -%}
        {%- for source in timed %}
        select
            min(try_cast({{ source.loaded_at_field }} as timestamptz)) at time zone 'UTC' as oldest,
            max(try_cast({{ source.loaded_at_field }} as timestamptz)) at time zone 'UTC' as newest,
            min(try_cast({{ source.config.event_time or 'null' }} as timestamptz)) at time zone 'UTC' as first_event
        from {{ source.relation_name }}
        {{ 'union all' if not loop.last }}
        {%- endfor %}
    {%- endset -%}
    {%- set row = run_query(
        "select min(oldest)::varchar, max(newest)::varchar, date_trunc('day', max(newest))::timestamp::varchar, "
        ~ "min(first_event)::varchar from (" ~ bounds ~ ")"
    ).rows[0] -%}
    {%- if row[1] is none -%}
        {{ exceptions.raise_compiler_error(
            "the sources hold no events: no row of " ~ (timed | map(attribute='name') | join(', '))
            ~ " has a time in its loaded_at_field; expected at least one"
        ) }}
    {%- endif -%}
    {%- set as_of = featmill._parse_moment(given_as_of, 'FEATMILL_AS_OF') if given_as_of else row[2] -%}
    {%- set cut_off = featmill._parse_moment(given_cut_off, 'FEATMILL_CUT_OFF') if given_cut_off else row[1] -%}
    {%- if cut_off < row[0] -%}
        {{ exceptions.raise_compiler_error(
            "the cut-off " ~ cut_off ~ " is before the data: the first row of the sources was ingested at " ~ row[0]
        ) }}
    {%- elif row[3] is not none and as_of <= row[3] -%}
        {{ exceptions.raise_compiler_error(
            "as_of " ~ as_of ~ " is before the data: the first event of the sources happened at " ~ row[3]
            ~ "; expected FEATMILL_AS_OF to be a later moment, up to about " ~ row[1]
        ) }}
    {%- elif row[3] is none and as_of <= row[0] -%}
        {{ exceptions.raise_compiler_error(
            "as_of " ~ as_of ~ " is before the data: the first row of the sources was ingested at " ~ row[0]
            ~ "; expected FEATMILL_AS_OF to be a later moment, up to about " ~ row[1]
            ~ ". Where older events were loaded late, declare event_time on their source (config: {event_time: event_at})"
        ) }}
    {%- endif -%}
    {%- if run_query("select timestamp '" ~ as_of ~ "' > timestamp '" ~ row[1] ~ "' + interval 7 days").rows[0][0] -%}
        {{ exceptions.raise_compiler_error(
            "as_of " ~ as_of ~ " is after the data: the newest row of the sources was ingested at " ~ row[1]
            ~ "; expected at most a week later. A snapshot of the future would stay the newest for good"
        ) }}
    {%- endif -%}
    {{ return({'as_of': as_of, 'cut_off': cut_off}) }}
{% endmacro %}
