"""The ledger says what the store serves, whatever was killed and whatever stayed the same (rules 12 and 21)."""

from __future__ import annotations

import pytest

from exporters.redis.generations import read_generations
from featmill.errors import NotNewer
from featmill.online.live import read_live
from featmill.warehouse import promotions
from tests.integration.serving.chain import CLICKS, ORDERS, day
from tests.integration.serving.kills import POINTS, Killed, killed

pytestmark = pytest.mark.redis


def entries(chain):
    """Kind and tables of every entry."""
    found = promotions.ledger(chain.registry.lake)
    return [(entry.kind, sorted(entry.snapshots)) for entry in found]


@pytest.mark.parametrize("mode", ["in_place", "generation"])
def test_a_table_that_is_not_online_any_more_is_told(chain, mode):
    chain.tables = (CLICKS, ORDERS)
    clicks = chain.snapshot(CLICKS, day(1), [(1, day(1), 1, "a")])
    chain.release(clicks, chain.snapshot(ORDERS, day(1), [(1, day(1), 1.0)]))
    chain.promote(mode=mode)
    chain.tables = (CLICKS,)

    chain.promote(mode=mode)
    chain.promote(mode=mode)

    assert entries(chain) == [("live", ["clicks", "orders"]), ("live", ["clicks"])]


@pytest.mark.parametrize("mode", ["in_place", "generation"])
def test_a_corrected_history_is_told_where_the_run_was_killed(chain, mode):
    """The release is the same, what it holds of an earlier snapshot is not."""
    chain.publish(CLICKS, day(1), [(1, day(1), 10, "a"), (2, day(1), 20, "a")])
    second = chain.publish(CLICKS, day(2), [(1, day(2), 11, "b"), (2, day(0), 5, "old")])
    chain.promote(second, mode=mode)
    chain.publish(CLICKS, day(1), [(1, day(1), 10, "a"), (2, day(1), 99, "corrected")])
    with pytest.MonkeyPatch.context() as patch:
        POINTS["before the ledger"](patch, killed)
        with pytest.raises(Killed):
            chain.promote(second, mode=mode, again=True)
    assert chain.served(2) == ("99", '"corrected"')

    chain.promote(second, mode=mode, again=True)
    chain.promote(second, mode=mode)

    told = promotions.ledger(chain.registry.lake)
    assert [entry.kind for entry in told] == ["live", "live"]
    assert told[-1].read_at == chain.serving().read_at
    assert told[-1].promoted_at == chain.serving().flipped_at


def test_what_waited_is_told_as_of_the_promotion(chain):
    """What is proven to be the release as the registry stands at the promotion is of that reading."""
    chain.settings = chain.settings.model_copy(update={"publish_mode": "generation"})
    chain.publish(CLICKS, day(1), [(1, day(1), 1, "a")])
    second = chain.publish(CLICKS, day(2), [(1, day(2), 2, "b")])
    chain.export(second)
    exported_at = read_generations(chain.target, "shop", None)["shop__g1"].read_at

    chain.promote(second)

    (told,) = promotions.ledger(chain.registry.lake)
    assert told.read_at == chain.serving().read_at > exported_at


def test_what_a_killed_run_had_begun_is_not_overwritten_by_an_older(chain):
    first, second, third = (
        chain.publish(CLICKS, day(n), [(1, day(n), n, f"day {n}")]) for n in (1, 2, 3)
    )
    chain.promote(first, mode="in_place")
    with pytest.MonkeyPatch.context() as patch:
        POINTS["before the proof"](patch, killed)
        with pytest.raises(Killed):
            chain.promote(third, mode="in_place")

    with pytest.raises(
        NotNewer, match=f"does not come after {third}, which a run has begun"
    ) as caught:
        chain.promote(second, mode="in_place")

    assert "featmill promote finishes it" in caught.value.hint
    chain.promote(third, mode="in_place")
    assert chain.ledger() == [("live", first), ("live", third)]


def test_a_view_that_is_not_declared_goes_from_a_generation_that_is_used_again(chain):
    chain.tables = (CLICKS, ORDERS)
    clicks = chain.snapshot(CLICKS, day(1), [(1, day(1), 1, "a")])
    orders = chain.snapshot(ORDERS, day(1), [(k, day(1), 1.0) for k in range(9)])
    first = chain.release(clicks, orders)
    chain.promote(first)
    chain.tables = (CLICKS,)
    chain.publish(CLICKS, day(2), [(1, day(2), 2, "b")])
    chain.promote()

    with pytest.MonkeyPatch.context() as patch:
        POINTS["before the flip"](patch, killed)
        with pytest.raises(Killed):
            chain.promote(first, again=True)
    assert sorted(read_live(chain.target, "shop__g1")) == ["clicks"], "before anybody reads it"
    chain.promote(first, again=True)

    assert (chain.serving().rows_project, chain.entities("shop__g1")) == ("shop__g1", 1)
    assert sorted(chain.serving().views) == ["clicks"]
