{#- How far back from a moment the windows of these features reach at most, in microseconds, or none where one is a lifetime.

    A bound for the join, no edge: the longest local day, week and month are rounded up over any change of their zone. -#}
{% macro _windows_at_back(features, view) %}
    {%- set calendars = {'day': 3 * 86400000000, 'week': 9 * 86400000000, 'month': 33 * 86400000000} -%}
    {%- set backs = [0] -%}
    {%- for feature in features -%}
        {%- set hop = feature.get('hop') or view.get('hop') or 'exact' -%}
        {%- set back = featmill._microseconds(feature.get('delay') or view.get('delay') or '0s') -%}
        {%- if feature.get('calendar') -%}
            {%- do backs.append(back + calendars[feature.calendar]) -%}
        {%- elif feature.window == 'lifetime' -%}
            {{ return(none) }}
        {%- else -%}
            {%- set step = 0 if hop == 'exact' else featmill._microseconds(hop) -%}
            {%- do backs.append(back + featmill._microseconds(feature.window) + step) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(backs | max) }}
{% endmacro %}
