"""Which generations stay: what serves, what served last before it, and what is newer than it (rule 21)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from exporters.redis.generations import (
    Generation,
    GenerationState,
    expired,
    mode_of,
    rows_project_of,
)
from featmill import clock
from featmill.online.serving_state import PublishMode

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def generation(number, state, served=None):
    return Generation(
        rows_project=f"shop__g{number}",
        release_id=f"r{number}",
        as_of=NOON,
        released_at=NOON,
        epoch=number,
        state=GenerationState(state),
        started_at=NOON,
        read_at=NOON,
        served_epoch=served,
    )


def gone(*known, keep):
    found = {one.rows_project: one for one in known}
    return [one.epoch for one in expired(found, keep)]


def test_the_last_that_served_stay_whatever_their_number():
    """After a rollback to g1 the newest of the others is what was left, g3."""
    known = [
        generation(1, "live", served=4),
        generation(2, "kept", served=2),
        generation(3, "kept", served=3),
    ]

    assert gone(*known, keep=2) == []
    assert gone(*known, keep=1) == [2]
    assert gone(*known, keep=0) == [3, 2]


def test_what_a_failed_run_left_goes_and_what_waits_stays():
    known = [
        generation(1, "building"),
        generation(2, "ready"),
        generation(3, "live", served=3),
        generation(4, "ready"),
        generation(5, "building"),
        generation(6, "removing", served=1),
    ]

    assert gone(*known, keep=2) == [6, 1, 2]


def test_before_anything_serves_what_is_an_hour_old_was_abandoned_but_not_the_last_that_is_ready():
    known = [generation(1, "building"), generation(2, "ready")]

    with clock.frozen(NOON + timedelta(minutes=59)):
        assert gone(*known, keep=0) == []
    with clock.frozen(NOON + timedelta(hours=2)):
        assert gone(*known, keep=0) == [1]


STATES = st.sampled_from([state for state in GenerationState if state != "live"])


@given(st.lists(st.tuples(STATES, st.none() | st.integers(1, 30)), max_size=8), st.integers(0, 3))
def test_what_serves_never_goes_and_no_more_than_asked_is_kept(others, keep):
    known = [generation(0, "live", served=20)]
    known += [generation(n, state, served) for n, (state, served) in enumerate(others, start=1)]
    numbers = gone(*known, keep=keep)

    kept = [one for one in known if one.state == "kept" and one.epoch not in numbers]
    assert 0 not in numbers
    assert len(kept) == min(keep, sum(one.state == "kept" for one in known))
    assert all(one.epoch in numbers for one in known if one.state == "removing")


def test_the_rows_in_place_are_under_the_projects_own_name():
    assert rows_project_of("shop", PublishMode.IN_PLACE, 7) == "shop"
    assert rows_project_of("shop", PublishMode.GENERATION, 7) == "shop__g7"
    assert mode_of("shop", "shop") is PublishMode.IN_PLACE
    assert mode_of("shop", "shop__g7") is PublishMode.GENERATION
