{#- Settle what the sources look like as the run starts: a publish node refuses if they changed since.

    Files are looked at from outside. Of any other relation the rows are hashed, whatever their order. -#}
{% macro _pin_sources() %}
    {%- set states = {} -%}
    {%- for source in featmill._feature_sources() -%}
        {%- set relation = source.relation_name -%}
        {%- set state = run_query(
            "select featmill_source_state('" ~ (relation | replace("'", "''")) ~ "')"
        ).columns[0].values()[0] -%}
        {%- if not state -%}
            {%- set state = run_query(
                "select count(*) || ' ' || coalesce(sum(md5_number_lower(to_json(source)::varchar)::hugeint), 0) "
                ~ "from (select * from " ~ relation ~ ") as source"
            ).columns[0].values()[0] -%}
        {%- endif -%}
        {%- do states.update({relation: state}) -%}
    {%- endfor -%}
    {%- do featmill._pin('sources', states) -%}
{% endmacro %}
