"""Rows in memory: how long they are answered as they were, how long as stale, and what ends them at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from featmill.contract.catalog import ServingPolicy
from featmill.online.serving_state import PublishMode, Serving, ServingState
from featmill.serving.row_cache import RowCache

STATE = ServingState(
    epoch=1,
    mode=PublishMode.IN_PLACE,
    rows_project="shop",
    release_id="r1",
    as_of=datetime(2026, 3, 1, tzinfo=UTC),
    flipped_at=datetime(2026, 3, 1, tzinfo=UTC),
    is_complete=True,
    views={},
)
SECOND = timedelta(seconds=1)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cached(clock):
    """A cache of a policy without jitter, but for what a test asks."""

    def make(**policy):
        given = {"jitter": 0.0, "cache_ttl": SECOND, "stale_for": 10 * SECOND} | policy
        return RowCache(ServingPolicy.model_validate(given), clock=clock)

    return make


def serving(version=b"1.1"):
    return Serving(version, STATE)


ROW, OTHER, NONE = [b"x"], [b"y"], [None]


def keep(cache, version=b"1.1", **rows):
    """Keep rows of group 0 by their stems."""
    stems = [name.encode() for name in rows]
    cache.keep(serving(version), 0, stems, [(row, row is not NONE) for row in rows.values()])


def fresh(cache, *stems, version=b"1.1", group=0):
    return cache.fresh(version, group, [stem.encode() for stem in stems]).rows


def stale(cache, *stems):
    return cache.stale(0, [stem.encode() for stem in stems])


def test_a_row_is_fresh_then_stale_then_gone(cached, clock):
    cache = cached()
    keep(cache, a=ROW)

    assert (fresh(cache, "a", "b"), stale(cache, "a", "b")) == ([ROW, None], [ROW, None])
    clock.now += 1
    assert (fresh(cache, "a"), stale(cache, "a")) == ([None], [ROW])
    clock.now += 9
    assert stale(cache, "a") == [None]


def test_that_nothing_was_there_is_remembered_for_a_time_of_its_own(cached, clock):
    cache = cached(negative_ttl=3 * SECOND)
    keep(cache, a=NONE)

    assert stale(cache, "a") == [None]
    clock.now += 2
    assert fresh(cache, "a") == [NONE]
    assert cache.fresh(b"1.1", 0, [b"a", b"b"]).absent == 1
    clock.now += 1
    assert fresh(cache, "a") == [None]


def test_that_nothing_was_there_is_not_remembered_unless_declared(cached):
    cache = cached()
    keep(cache, a=NONE)

    assert fresh(cache, "a") == [None]


def test_groups_do_not_share_rows(cached):
    cache = cached()
    keep(cache, a=ROW)

    assert fresh(cache, "a", group=1) == [None]


def test_what_serves_moves_and_nothing_of_before_is_left(cached):
    """Rule 21: an answer is of one version."""
    cache = cached()
    keep(cache, a=ROW)

    assert fresh(cache, "a", version=b"2.1") == [None]
    keep(cache, version=b"2.1", b=OTHER)
    assert (fresh(cache, "a", "b", version=b"2.1"), stale(cache, "a", "b")) == (
        [None, OTHER],
        [None, OTHER],
    )


def test_it_holds_no_more_than_declared(cached):
    cache = cached(entities=2)
    keep(cache, a=ROW, b=ROW)
    fresh(cache, "a")
    keep(cache, c=OTHER)

    assert fresh(cache, "a", "b", "c") == [ROW, None, OTHER]
    assert len(cache) == 2


def test_rows_read_together_do_not_expire_together(cached, clock):
    cache = cached(jitter=0.5)
    names = [f"n{number}" for number in range(200)]
    keep(cache, **dict.fromkeys(names, ROW))
    left = []
    for _ in range(5):
        left.append(sum(row is not None for row in fresh(cache, *names)))
        clock.now += 0.25

    assert left[0] == left[1] == 200
    assert 200 > left[3] > 0
    assert left[4] == 0
