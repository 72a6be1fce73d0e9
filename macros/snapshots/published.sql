{#- The publish node: append the tested feature table to the lake as one immutable snapshot, then show what is
    published as a view, so that training models can ref() it. -#}
{% materialization published, adapter='duckdb', supported_languages=['sql'] %}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- do featmill._require_plugin() -%}
    {%- do featmill._require_gate(model.name) -%}
    {{ run_hooks(pre_hooks) }}

    {%- set moments = featmill._run_moments() -%}
    {%- do adapter.store_relation('featmill', target_relation, [], model.name, 'delta', {
        'publish_node': model.unique_id, 'text': compiled_code, 'as_of': moments.as_of, 'cut_off': moments.cut_off,
        'invocation_id': invocation_id, 'selected': selected_resources,
    }) -%}
    {%- set outcome = fromjson(
        run_query("select featmill_published('" ~ invocation_id ~ "', '" ~ model.unique_id ~ "')").columns[0].values()[0]
    ) -%}

    {%- call statement('main') -%}
        create or replace view {{ target_relation }} as {{ outcome.view_sql }}
    {%- endcall -%}
    {%- do adapter.commit() -%}
    {{ run_hooks(post_hooks) }}
    {{ log("featmill: " ~ outcome.message, info=true) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
