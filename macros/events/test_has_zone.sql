{#- The test of a source's column that its times say their zone (rule 1). It fails with the source, the column and how many
    rows do not; `featmill.utc(column, zone=...)` declares what they mean. -#}
{% test has_zone(model, column_name) %}
    select {{ column_name }} from {{ model }} where {{ featmill.without_zone(column_name) }}
{% endtest %}
