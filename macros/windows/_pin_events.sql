{#- Keep which relation a feature table's windows were read from, and its columns of rule 8's order, for the publish node. -#}
{% macro _pin_events(node, events, event_at, ingested_at, event_id) %}
    {%- if execute and flags.WHICH in ['build', 'run'] and model.resource_type != 'unit_test' -%}
        {%- do featmill._pin(node.unique_id ~ ':events', {
            'relation': events | string, 'event_at': event_at, 'ingested_at': ingested_at, 'event_id': event_id,
        }) -%}
    {%- endif -%}
{% endmacro %}
