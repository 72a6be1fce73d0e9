"""A Feast project in the store is one lake's: another that would write there, or take away, is refused."""

from __future__ import annotations

import pytest

from featmill.errors import OnlineRefused
from featmill.online.ownership import Owner, lake_id, own, owner_key, require_owner
from orchestration import promotion
from tests.integration.serving.chain import CLICKS, ORDERS, Chain, day

pytestmark = pytest.mark.redis


@pytest.fixture
def other(chain, tmp_path, monkeypatch):
    """Another home of a dbt project of the same name; the chain has published."""
    chain.publish(CLICKS, day(1), [(n, day(1), n, "ours") for n in range(5)])
    chain.promote()
    chain.publish(CLICKS, day(2), [(n, day(2), n, "ours too") for n in range(5)])
    chain.promote()
    made = Chain(tmp_path / "other", chain.target, monkeypatch)
    made.tables = (ORDERS,)
    made.publish(ORDERS, day(3), [(1, day(3), 1.0)])
    return made


@pytest.mark.parametrize(
    "action",
    [
        Chain.export,
        Chain.promote,
        lambda c: c.promote(mode="in_place", again=True),
        Chain.rollback,
        lambda c: promotion.clean(c.settings),
    ],
)
def test_another_lake_is_refused_and_what_is_online_stays(chain, other, action):
    before = (chain.generations(), chain.serving())

    with pytest.raises(
        OnlineRefused, match=r"project shop .* belongs to dbt project shop"
    ) as caught:
        action(other)

    assert "delete the key featmill:shop:owner" in caught.value.hint
    assert (chain.generations(), chain.serving()) == before
    assert chain.served(3) == ("3", '"ours too"')
    assert chain.entities("shop__g2") == 5


def test_who_deletes_the_key_takes_over(chain, other):
    with chain.target.client() as client:
        client.delete(owner_key("shop"))

    other.promote()

    with pytest.raises(OnlineRefused):
        require_owner(chain.target, ["shop"], Owner("shop", lake_id(chain.registry.lake.root)))


def test_of_two_that_come_at_once_the_first_owns_and_may_come_again(store):
    own(store, "shop", Owner("shop", "a"))
    own(store, "shop", Owner("shop", "a"))

    with pytest.raises(OnlineRefused, match="of lake a, not to shop_eu of lake b"):
        own(store, "shop", Owner("shop_eu", "b"))
    require_owner(store, ["free"], Owner("x", "y"))


def test_a_lake_keeps_its_id(tmp_path):
    first = lake_id(tmp_path / "lake")

    assert (lake_id(tmp_path / "lake"), len(first)) == (first, 32)
    assert lake_id(tmp_path / "another") != first
    assert [file.name for file in (tmp_path / "lake" / "_registry").iterdir()] == ["lake_id"]
