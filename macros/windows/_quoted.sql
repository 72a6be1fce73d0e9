{#- A column's name as an SQL identifier, so that one called `order` is a name and not a keyword. Plain Jinja.

    engine: {quote: the mark around names, folds: whether a plain name unquoted is taken in upper case, as Snowflake does:
    then it is quoted in upper case, which is the column that the bare name means}; DuckDB's without it. -#}
{% macro _quoted(name, engine=none) %}
    {%- set name = name | string -%}
    {%- set mark = engine['quote'] if engine else '"' -%}
    {%- if engine and engine['folds'] and modules.re.match('[A-Za-z_][A-Za-z0-9_]*$', name) -%}
        {%- set name = name | upper -%}
    {%- endif -%}
    {{ return(mark ~ (name | replace(mark, mark ~ mark)) ~ mark) }}
{% endmacro %}
