{#- The statements that compute the tiles in `featmill_touched` anew. Keys are compared as `group by` does: NULL is a key. -#}
{% macro _retile_sql(relation, sql, plan, touched) -%}
    {%- if touched.count == 0 -%}{{ return("select 'no tile is touched'") }}{%- endif -%}
    {%- set same = [] -%}
    {%- for key in plan['keys'] -%}{%- do same.append("touched." ~ key ~ " is not distinct from {}." ~ key) -%}{%- endfor -%}
    {%- set same = same | join(' and ') -%}
    {%- set narrowed -%}
        semi join featmill_touched as touched on {{ same | replace('{}', 'event') }} and touched.tile_start = {{ plan.start }}
        and event.{{ plan.event_at }} >= timestamp '{{ touched.first }}'
        and event.{{ plan.event_at }} < timestamp '{{ touched.last }}' + to_microseconds({{ plan.width }})
    {%- endset -%}
    create or replace temp table featmill_retiled as {{ sql | replace('/* featmill:touched */', narrowed) }};
    delete from {{ relation }} as held using featmill_touched as touched
        where {{ same | replace('{}', 'held') }} and touched.tile_start = held.tile_start;
    insert into {{ relation }} select * from featmill_retiled;
    drop table featmill_retiled;
    drop table featmill_touched;
{%- endmacro %}
