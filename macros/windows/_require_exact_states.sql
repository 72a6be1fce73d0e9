{#- Refuse to sum DOUBLE or FLOAT without a declared scale (rule 6): DuckDB's sum(DOUBLE) differs from run to run at two
    threads. The types come from the events relation, so a unit test has nothing to ask, nor has a command that compiles
    before anything was built. -#}
{% macro _require_exact_states(events, features) %}
    {%- if not execute or flags.WHICH not in ['build', 'run'] or model.resource_type == 'unit_test' -%}{{ return('') }}{%- endif -%}
    {%- set summed = [] -%}
    {%- for feature in features if feature.aggregate in ['sum', 'mean', 'std', 'ratio'] and feature.get('scale') is none -%}
        {%- for value in [feature.get('value'), feature.get('of')] if value is not none -%}
            {%- do summed.append({'feature': feature, 'value': value}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if not summed -%}{{ return('') }}{%- endif -%}
    {%- set asked -%}
        select {% for sum in summed %}typeof(any_value({{ sum.value }})), {% endfor %}1 from (select * from {{ events }} limit 0)
    {%- endset -%}
    {%- set row = run_query(asked).rows[0] -%}
    {%- for sum in summed -%}
        {#- DuckDB sums a UHUGEINT as DOUBLE. -#}
        {%- if row[loop.index0] in ['DOUBLE', 'FLOAT', 'UHUGEINT'] -%}
            {{ exceptions.raise_compiler_error(
                sum.feature.name ~ ": " ~ sum.feature.aggregate ~ " over the " ~ row[loop.index0] ~ " " ~ sum.value
                ~ " is not exact: declare the scale it is rounded to (meta.feature.scale: 2) or cast it to decimal"
            ) }}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}
