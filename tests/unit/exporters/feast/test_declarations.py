"""What Feast is told of the contract: entities of one key each, one view a name, services whole."""

from __future__ import annotations

from datetime import timedelta

import pytest

from exporters.feast.declarations import declare, declare_entities
from featmill.errors import ContractError
from tests.integration.feast.shop import (
    CUSTOMERS,
    DAY_1,
    PRICES,
    SHELVES,
    SHOP,
    catalog,
    service,
    table,
)


def names(entities):
    return [(e.name, e.join_key, e.value_type) for e in entities]


def test_a_single_key_is_the_declared_entity():
    found = declare_entities([CUSTOMERS])

    assert names(found["customers"]) == [("customer", "customer_id", "INT64")]


def test_a_composite_key_takes_the_entity_of_whoever_has_the_key_alone():
    found = declare_entities([PRICES, CUSTOMERS])

    assert names(found["prices"]) == [
        ("shop", "shop", "STRING"),
        ("customer", "customer_id", "INT64"),
    ]


def test_a_key_of_another_type_is_another_entity():
    """Rule 16: an int key and a string key are not the same."""
    other = table("visits", {"customer_id": "VARCHAR", "day": "DATE"}, {"n": "BIGINT"})

    found = declare_entities([CUSTOMERS, other])

    assert names(found["visits"]) == [
        ("customer_id", "customer_id", "STRING"),
        ("day", "day", "UNIX_TIMESTAMP"),
    ]


@pytest.mark.parametrize("keys", [{"customer_id": "VARCHAR"}, {"id": "BIGINT"}])
def test_two_tables_that_disagree_about_an_entity_are_both_named(keys):
    """Rule 16."""
    other = table("visits", keys, {"n": "BIGINT"}, entity="customer")

    with pytest.raises(ContractError, match=r"'customer' has key .* in customers and .* in visits"):
        declare_entities([CUSTOMERS, other])


def test_a_list_is_no_key():
    with pytest.raises(ContractError, match="join key ids is a list"):
        declare_entities([table("visits", {"ids": "BIGINT[]"}, {"n": "BIGINT"})])


def test_a_project_holds_one_tenant():
    other = CUSTOMERS.model_copy(update={"tenant": "acme"})
    whole = catalog(CUSTOMERS, other, SHELVES)

    assert declare(whole, {}, "acme").project == "shop_acme"
    assert [v.table.tenant for v in declare(whole, {}, "acme").views] == ["acme"]
    assert [v.table.name for v in declare(whole, {}, "default").views] == ["customers", "shelves"]


def test_of_several_versions_the_name_means_the_latest():
    older = CUSTOMERS.model_copy(update={"version": "1", "is_latest": False})
    latest = CUSTOMERS.model_copy(update={"version": "2"})

    views = declare(catalog(latest, older), {}, "default").views

    assert [v.table.version for v in views] == ["2"]


def test_a_view_names_its_newest_released_snapshot(warehouse):
    rows = "SELECT 1::BIGINT AS customer_id"
    newest = warehouse.snapshot("customers", DAY_1 + timedelta(1), rows, published_at=DAY_1)
    oldest = warehouse.snapshot("customers", DAY_1, rows, published_at=DAY_1 + timedelta(5))

    found = declare(SHOP, {"customers": [newest, oldest]}, "default")

    tags = {v.table.name: v.tags for v in found.views}
    assert tags["customers"] == {"tenant": "default", "snapshot": newest.snapshot_id}
    assert tags["prices"] == {"tenant": "default"}


def test_no_ttl_is_zero():
    assert [v.ttl for v in declare(SHOP, {}, "default").views] == [
        timedelta(days=2),
        timedelta(0),
        timedelta(0),
    ]


def test_a_service_takes_each_feature_once_view_by_view():
    wanted = service("s", "prices:discount", "customers:city", "customers:orders", "customers:city")

    found = declare(catalog(CUSTOMERS, PRICES, services=(wanted,)), {}, "default").services

    assert [s.projections for s in found] == [
        (("prices", ("discount",)), ("customers", ("city", "orders")))
    ]


def test_a_service_stays_with_its_tenant():
    other = PRICES.model_copy(update={"tenant": "acme"})
    ours = service("ours", "customers:city")
    both = service("both", "customers:city", "prices:discount")

    assert [
        s.name for s in declare(catalog(CUSTOMERS, other, services=(ours,)), {}, "default").services
    ] == ["ours"]
    assert declare(catalog(CUSTOMERS, other, services=(ours,)), {}, "acme").services == ()
    with pytest.raises(ContractError, match="both reads prices, which is not in its Feast project"):
        declare(catalog(CUSTOMERS, other, services=(both,)), {}, "default")
