{#- The publish node: append the tested feature table to the lake as one immutable snapshot, then show what is
    published as a view, so that training models can ref() it. -#}
{% materialization published, adapter='duckdb', supported_languages=['sql'] %}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- set node = graph.nodes[model.unique_id] -%}
    {%- set candidate = featmill._candidate(node) -%}
    {%- do featmill._require_plugin() -%}
    {%- do featmill._require_gate(node, candidate) -%}
    {{ run_hooks(pre_hooks) }}

    {%- do adapter.store_relation(
        'featmill', target_relation, [], model.name, 'delta', featmill._publish_order(node, candidate, compiled_code)
    ) -%}
    {%- set outcome = fromjson(
        run_query("select featmill_published('" ~ model.unique_id ~ "')").columns[0].values()[0]
    ) -%}

    {%- call statement('main') -%}
        create or replace view {{ target_relation }} as {{ outcome.view_sql }}
    {%- endcall -%}
    {%- do adapter.commit() -%}
    {{ run_hooks(post_hooks) }}
    {{ log("featmill: " ~ outcome.message, info=true) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
