"""Epochs only grow, whatever became of their counter, and name rows that nobody has (rule 21)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from featmill import clock
from featmill.online.serving_state import next_epoch
from orchestration import promotion
from tests.integration.serving.chain import CLICKS, day
from tests.integration.serving.kills import POINTS, Killed, killed

pytestmark = pytest.mark.redis

COUNTER = b"featmill:shop:epoch"


def publish(chain, number):
    return chain.publish(CLICKS, day(number), [(1, day(number), number, f"day {number}")])


@pytest.mark.parametrize("mode", ["in_place", "generation"])
@pytest.mark.parametrize("behind", [b"0", b"2", None])
def test_a_counter_that_was_lost_is_made_good(chain, mode, behind):
    for n in (1, 2, 3):
        publish(chain, n)
        chain.promote(mode=mode)
    with chain.target.client() as client:
        client.delete(COUNTER)
        if behind is not None:
            client.set(COUNTER, behind)

    publish(chain, 4)
    promoted = chain.promote(mode=mode)

    assert promoted.flipped
    assert chain.serving().epoch == 4
    assert chain.served(1) == ("4", '"day 4"')
    with chain.target.client() as client:
        assert client.get(COUNTER) == b"4"


def test_what_is_being_built_is_not_built_over(chain):
    """Nothing serves yet, so only the generation itself says that its epoch is taken."""
    publish(chain, 1)
    with pytest.MonkeyPatch.context() as patch:
        POINTS["before the flip"](patch, killed)
        with pytest.raises(Killed):
            chain.promote()
    with chain.target.client() as client:
        client.delete(COUNTER)

    assert next_epoch(chain.target, "shop") == 2


def test_a_view_that_was_exported_with_an_epoch_counts(chain):
    publish(chain, 1)
    chain.promote(mode="in_place")
    with chain.target.client() as client:
        client.delete(COUNTER, b"featmill:shop:serving", b"featmill:shop:generations")

    assert next_epoch(chain.target, "shop") == 2


def test_a_name_that_another_project_has_is_passed_over(chain):
    with chain.target.client() as client:
        client.hset(b"featmill:shop__g1:live", "users", "{}")
    publish(chain, 1)

    chain.promote()

    assert chain.serving().rows_project == "shop__g2"


def test_where_nothing_ever_served_what_was_abandoned_is_removed(chain, monkeypatch):
    chain.settings = chain.settings.model_copy(update={"publish_mode": "generation"})
    first, second, third = (publish(chain, n) for n in (1, 2, 3))
    chain.export(first)
    chain.export(second)
    with pytest.MonkeyPatch.context() as patch:
        POINTS["before the proof"](patch, killed)
        with pytest.raises(Killed):
            chain.promote(third)
    assert promotion.clean(chain.settings) == ()
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(hours=2))

    gone = promotion.clean(chain.settings)

    assert [one.rows_project for one in gone] == ["shop__g1", "shop__g3"]
    assert chain.generations() == {"shop__g2": (second, "ready")}
    assert (chain.entities("shop__g1"), chain.entities("shop__g3")) == (0, 0)
