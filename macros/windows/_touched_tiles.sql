{#- Make the temporary table `featmill_touched` of the tiles that hold an event which was ingested in (bookmark, cut_off], and
    return {count, first, last}: how many there are, and the first and last tile_start as timestamp texts. -#}
{% macro _touched_tiles(plan, bookmark, cut_off) %}
    {%- do run_query(
        "create or replace temp table featmill_touched as select distinct " ~ plan['keys'] | join(', ') ~ ", " ~ plan.start
        ~ " as tile_start from " ~ plan.events ~ " as event where " ~ plan.ingested_at ~ " > timestamp '" ~ bookmark ~ "' and "
        ~ plan.ingested_at ~ " <= " ~ cut_off ~ " and " ~ plan.event_at ~ " is not null"
    ) -%}
    {%- set row = run_query(
        "select count(*), min(tile_start)::varchar, max(tile_start)::varchar from featmill_touched"
    ).rows[0] -%}
    {{ return({'count': row[0], 'first': row[1], 'last': row[2]}) }}
{% endmacro %}
