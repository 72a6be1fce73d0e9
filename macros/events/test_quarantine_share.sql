{#- The gate of rule 10: at most this share of a source's rows may be refused.

    It stands on the model that judges the rows, of which accepted and quarantined rows are two halves: so all that
    descends from the accepted ones waits for it. at_most: a share between 0 and 1. refused_because: the column with the
    reason, NULL where the row is accepted. -#}
{% test quarantine_share(model, at_most, refused_because='refused_because') %}
    with counted as (
        select count({{ refused_because }}) as refused, count(*) as given
        from {{ model }}
    )
    select refused, given, refused / given as share
    from counted
    where refused > {{ at_most }} * given
{% endtest %}
