{#- An ISO 8601 date or moment, with its zone, as a UTC timestamp text; `setting` names where it came from. -#}
{% macro _parse_moment(text, setting) %}
    {%- set expected = setting ~ " must be a UTC day (2026-01-31) or a moment with its zone (2026-01-31T06:00:00Z), got: " -%}
    {%- set day = '[0-9]{4}-[0-9]{2}-[0-9]{2}' -%}
    {%- set zoned = day ~ '[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})' -%}
    {%- set is_day = modules.re.fullmatch(day, text) -%}
    {%- if not is_day and not modules.re.fullmatch(zoned, text) -%}
        {{ exceptions.raise_compiler_error(expected ~ text) }}
    {%- endif -%}
    {#- The 30th of February has the form of a day. -#}
    {%- if not run_query("select try_cast('" ~ text ~ "' as timestamptz) is not null").rows[0][0] -%}
        {{ exceptions.raise_compiler_error(expected ~ text) }}
    {%- endif -%}
    {%- if is_day -%}{{ return(text ~ ' 00:00:00') }}{%- endif -%}
    {%- set moment = modules.datetime.datetime.fromisoformat(text).astimezone(modules.pytz.utc) -%}
    {{ return(moment.replace(tzinfo=none).isoformat(sep=' ')) }}
{% endmacro %}
