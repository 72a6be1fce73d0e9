{#- Up to which `ingested_at` a table of tiles can be continued from, as a timestamp text, or none where it must be built anew.

    It must hold what it would hold if it were built from nothing at its own cut-off: the same columns of the same
    definition, over the same events. An event that was corrected, removed or learnt of before the bookmark shows in the
    count and the sum of hashes, whatever its own ingested_at says (rules 8 and 9). -#}
{% macro _tiles_bookmark(relation, sql, plan, cut_off) %}
    {%- set held = run_query("select column_name, column_type from (describe " ~ relation ~ ")").rows -%}
    {%- set wanted = run_query("select column_name, column_type from (describe " ~ sql ~ ")").rows -%}
    {%- if held | map('join', ' ') | list != wanted | map('join', ' ') | list -%}{{ return(none) }}{%- endif -%}
    {%- set state = run_query(
        "select max(tile_cut_off)::varchar, any_value(tile_definition), "
        ~ "max(tile_cut_off) <= " ~ cut_off ~ ", sum(tile_events)::varchar, sum(tile_digest)::varchar from " ~ relation
    ).rows[0] -%}
    {%- if state[0] is none or state[1] != plan.definition or not state[2] -%}{{ return(none) }}{%- endif -%}
    {%- set now = run_query(
        "select count(*)::varchar, sum(" ~ plan.hashed ~ ")::varchar from " ~ plan.events ~ " as event where "
        ~ plan.ingested_at ~ " <= timestamp '" ~ state[0] ~ "' and " ~ plan.event_at ~ " is not null"
    ).rows[0] -%}
    {{ return(state[0] if (now[0], now[1]) == (state[3], state[4]) else none) }}
{% endmacro %}
