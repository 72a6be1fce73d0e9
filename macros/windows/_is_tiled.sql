{#- Whether a declared column is computed from tiles. A state that is a list grows with the events, so merging tiles of it costs
    more than reading the events: such a column (distinct values, the last n, the most frequent) is computed from these. -#}
{% macro _is_tiled(feature) %}
    {{ return(feature.aggregate not in ['count_distinct', 'last_n', 'top']) }}
{% endmacro %}
