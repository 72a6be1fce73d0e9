"""A plan finds what cannot go online before a row is read ("Check field-hash collisions")."""

from __future__ import annotations

import pytest

from featmill.contract.types import OnlineKind
from featmill.errors import ContractError
from featmill.online import plan as plans
from tests.unit.online.tables import feast_field, feature_table


@pytest.mark.feast
def test_fields_are_feasts():
    plan = plans.plan_view("shop", feature_table(features={"a": "BIGINT", "b": "VARCHAR"}))

    assert plan.fields == (feast_field("clicks", "a"), feast_field("clicks", "b"), b"_ts:clicks")


def test_a_list_is_planned_by_the_kind_of_its_elements():
    table = feature_table(features={"n": "BIGINT", "tags": "VARCHAR[]"})

    number, tags = plans.plan_view("shop", table).features

    assert (number.kind, number.is_list) == (OnlineKind.INT64, False)
    assert (tags.kind, tags.is_list) == (OnlineKind.STRING, True)


@pytest.mark.parametrize("sql_type", ["DOUBLE", "BOOLEAN", "FLOAT", "BIGINT[]"])
def test_a_key_that_feast_cannot_encode_is_refused(sql_type):
    with pytest.raises(ContractError, match="join key 'user_id'"):
        plans.plan_view("shop", feature_table(keys={"user_id": sql_type}))


def collide(monkeypatch):
    monkeypatch.setattr(plans, "feature_field", lambda view, feature: feature[:1].encode() * 4)


def test_two_features_with_one_field_are_refused(monkeypatch):
    collide(monkeypatch)

    with pytest.raises(ContractError, match="clicks:aa and clicks:ab have the same 32-bit field"):
        plans.plan_view("shop", feature_table(features={"aa": "BIGINT", "ab": "BIGINT"}))


def test_views_that_share_their_hashes_are_checked_together(monkeypatch):
    collide(monkeypatch)
    one = feature_table("clicks", features={"aa": "BIGINT"})
    other = feature_table("orders", features={"ab": "BIGINT"})

    with pytest.raises(ContractError, match="clicks:aa and orders:ab"):
        plans.plan_views("shop", [one, other])


def test_views_of_other_entities_cannot_collide(monkeypatch):
    collide(monkeypatch)
    one = feature_table("clicks", features={"aa": "BIGINT"})
    other = feature_table("orders", keys={"user_id": "VARCHAR"}, features={"ab": "BIGINT"})

    assert [plan.view for plan in plans.plan_views("shop", [one, other])] == ["clicks", "orders"]
