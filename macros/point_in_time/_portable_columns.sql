{#- The columns that a view adds to a spine, from the row that was found (`found`, with its time `at`). Plain Jinja.

    moment: SQL of the spine's time. engine: {after: SQL of a time `{}` plus `[]` microseconds, apostrophe: in a text}. -#}
{% macro _portable_columns(view, found, moment, engine, status) -%}
    {%- set at = found ~ '.' ~ view['event_time'] -%}
    {%- set visible = at ~ ' is not null' -%}
    {%- if view['ttl_us'] is not none -%}
        {%- set ends = engine['after'] | replace('[]', view['ttl_us'] | string) | replace('{}', at) -%}
        {%- set visible = visible ~ ' and ' ~ moment ~ ' < ' ~ ends -%}
    {%- endif -%}
    {%- for feature in view['features'] %},
        case when {{ visible }} then {{ found }}.{{ feature['name'] }} else {{ featmill._escaped_literal(feature['default_sql'], engine['apostrophe']) }} end as {{ view['name'] }}__{{ feature['name'] }}
    {%- endfor %}
    {%- if status %},
        case when {{ visible }} then 'ok' when {{ at }} is null then 'missing' else 'expired' end as {{ view['name'] }}__status,
        {{ at }} as {{ view['name'] }}__{{ view['event_time'] }}
    {%- endif -%}
{%- endmacro %}
