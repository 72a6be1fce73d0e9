{#- How a model of tiles is built: from nothing, or by computing anew the tiles that events touch which were ingested since the
    table's own cut-off. Both leave the same rows. The table changes in one transaction with its bookmark, which stands in its
    rows, so a killed run leaves what was there. -#}
{% materialization tiled, adapter='duckdb', supported_languages=['sql'] %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- do featmill._require_plugin() -%}
    {%- set plan = featmill._pinned(model.unique_id ~ ':tiles') -%}
    {%- if plan is none -%}
        {{ exceptions.raise_compiler_error(model.name ~ " is materialized as tiled and is not one call of featmill.tiles") }}
    {%- endif -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set cut_off = featmill.cut_off() -%}
    {{ run_hooks(pre_hooks) }}

    {%- set bookmark = none -%}
    {%- if existing and existing.type == 'table' and not should_full_refresh() -%}
        {%- set bookmark = featmill._tiles_bookmark(existing, sql, plan, cut_off) -%}
    {%- endif -%}
    {%- if bookmark is none -%}
        {%- if existing and existing.type != 'table' -%}{%- do adapter.drop_relation(existing) -%}{%- endif -%}
        {%- call statement('main') -%}
            create or replace table {{ target_relation }} as {{ sql }}
        {%- endcall -%}
        {{ log("featmill: " ~ model.name ~ " tiled anew", info=true) }}
    {%- else -%}
        {%- set touched = featmill._touched_tiles(plan, bookmark, cut_off) -%}
        {%- call statement('main') -%}
            {{ featmill._retile_sql(target_relation, sql, plan, touched) }}
        {%- endcall -%}
        {{ log("featmill: " ~ model.name ~ " tiled what was ingested after " ~ bookmark ~ " (" ~ touched.count ~ " tiles)", info=true) }}
    {%- endif -%}
    {%- do adapter.commit() -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
