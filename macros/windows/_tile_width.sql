{#- How long a feature table's tiles are, in microseconds: as declared (`tile: 6h`), else its finest hop, else a day. The
    width decides what a build costs and never a value (rule 7). -#}
{% macro _tile_width(table, features) %}
    {%- set hops = [86400000000] -%}
    {%- for feature in features -%}
        {%- set hop = feature.get('hop') or table.get('hop') or 'exact' -%}
        {%- if hop != 'exact' -%}{%- do hops.append(featmill._microseconds(hop)) -%}{%- endif -%}
    {%- endfor -%}
    {%- set width = featmill._microseconds(table.tile) if table.get('tile') else hops | min -%}
    {%- if width == 0 or 86400000000 % width != 0 -%}
        {{ exceptions.raise_compiler_error("a tile is a duration that divides the day, got: " ~ table.get('tile')) }}
    {%- endif -%}
    {{ return(width) }}
{% endmacro %}
