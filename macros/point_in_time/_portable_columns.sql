{#- The columns that a view adds to a spine, from the row that was found; where entities vanished (the view
    has `gone`) nothing of before is found between `gone_since` and `gone_until` of gone_<n> (rule 11). Plain Jinja.

    found: rows_<n> or found_<n>. moment: SQL of the spine's time. engine: what `_quoted` takes of it, and {after: SQL of a time `{}` plus `[]`
    microseconds; apostrophe: how it is written in a text}. -#}
{% macro _portable_columns(view, found, moment, engine, status) -%}
    {%- set at = found ~ '.' ~ featmill._quoted(view['event_time'], engine) -%}
    {%- set is_gone = 'coalesce(' ~ 'gone_' ~ found.split('_')[1] ~ '.gone_since > ' ~ at ~ ', false)' -%}
    {%- set visible = at ~ ' is not null' -%}
    {%- set found_at = at -%}
    {%- if view['gone'] is defined -%}
        {%- set visible = visible ~ ' and not ' ~ is_gone -%}
        {%- set found_at = 'case when not ' ~ is_gone ~ ' then ' ~ at ~ ' end' -%}
    {%- endif -%}
    {%- if view['ttl_us'] is not none -%}
        {%- set ends = engine['after'] | replace('[]', view['ttl_us'] | string) | replace('{}', at) -%}
        {%- set visible = visible ~ ' and ' ~ moment ~ ' < ' ~ ends -%}
    {%- endif -%}
    {%- for feature in view['features'] %},
        case when {{ visible }} then {{ found }}.{{ featmill._quoted(feature['name'], engine) }} else {{ featmill._escaped_literal(feature['default_sql'], engine['apostrophe']) }} end as {{ featmill._quoted(view['name'] ~ '__' ~ feature['name'], engine) }}
    {%- endfor %}
    {%- if status %},
        case when {{ visible }} then 'ok' when {{ found_at }} is null then 'missing' else 'expired' end as {{ featmill._quoted(view['name'] ~ '__status', engine) }},
        {{ found_at }} as {{ featmill._quoted(view['name'] ~ '__' ~ view['event_time'], engine) }}
    {%- endif -%}
{%- endmacro %}
