{#- The gate of rule 10: at most this share of a source's rows may lie in quarantine.

    model: the quarantine. accepted: ref() of the accepted rows. at_most: a share between 0 and 1. -#}
{% test quarantine_share(model, accepted, at_most) %}
    with counted as (
        select
            (select count(*) from {{ model }}) as refused,
            (select count(*) from {{ accepted }}) as accepted
    )
    select refused, accepted, refused / (refused + accepted) as share
    from counted
    where refused > {{ at_most }} * (refused + accepted)
{% endtest %}
