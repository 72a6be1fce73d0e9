{#- Say what to add to the profile where featmill's dbt-duckdb plug-in is not loaded. -#}
{% macro _require_plugin() %}
    {%- set found = run_query("select count(*) from duckdb_functions() where function_name = 'featmill_pin'") -%}
    {%- if found.rows[0][0] == 0 -%}
        {{ exceptions.raise_compiler_error(
            "the profile '" ~ target.profile_name ~ "' (target '" ~ target.name ~ "') does not load featmill's plug-in; add to it:\n"
            ~ "  plugins:\n    - module: featmill.warehouse.plugin\n      alias: featmill\n"
            ~ "      config: {home: .featmill}\n"
            ~ "and install featmill in the Python that runs dbt"
        ) }}
    {%- endif -%}
{% endmacro %}
