{#- A source's time as a UTC timestamp (rule 1). One that does not say its zone is read in `zone`; without `zone` it is NULL,
    so that the row is refused and counted as unreadable instead of being shifted by a guess.

    The session's time zone, which a bare cast to timestamptz reads such a text in, has no say. -#}
{% macro utc(column, zone=none) %}
    case
        when {{ featmill._says_zone(column) }} then timezone('UTC', try_cast({{ column }} as timestamptz))
        {%- if zone is not none %}
        else timezone('UTC', timezone({{ featmill._literal(zone) }}, try_cast({{ column }} as timestamp)))
        {%- endif %}
    end
{%- endmacro %}
