{#- absences_sql for a view in SQL of another engine: a snapshot's id begins with its as_of, and it knows what it
    was published with. Plain Jinja.

    engine: what `_quoted` takes of it, and {as_of: SQL of the moment that `snapshot_id` begins with, such as 20260304T000000Z or, with a fraction of a
    second, 20260304T000000.500000Z; never: SQL of a moment after all others}. -#}
{% macro _portable_gone(view, engine) -%}
    {%- set held = {
        'relation': view['relation'], 'keys': view['keys'],
        'snapshots_sql': '(select snapshot_id, ' ~ engine['as_of'] ~ ' as as_of, max(published_at) as known from ' ~ view['relation'] ~ ' as published group by snapshot_id)',
    } -%}
    {{ featmill.absences_sql(held, engine) | replace("'infinity'::timestamptz", engine['never']) }}
{%- endmacro %}
