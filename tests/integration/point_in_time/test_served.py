"""What production answered at t: the ledger of promotions decides, not what is known by now (rule 12)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from featmill.errors import NoRelease, UsageError
from featmill.warehouse import promotions
from tests.integration.point_in_time.ledgers import CLICKS, LedgerLake, hour

MICROSECOND = timedelta(microseconds=1)
MISSING = (None, None, "missing")


@pytest.fixture
def lake(tmp_path):
    """Nothing published yet."""
    return LedgerLake(tmp_path)


def test_a_row_is_served_from_when_it_went_live_not_from_when_it_was_valid(lake):
    """Rule 12: before the first promotion nothing was served."""
    release = lake.publish(hour(24), [(1, hour(24), 7, "a")], at=hour(25))
    lake.live(release, at=hour(30))

    spine = [(1, hour(24)), (1, hour(30) - MICROSECOND), (1, hour(30)), (2, hour(31))]

    assert lake.train(spine) == [MISSING, MISSING, (7, "a", "ok"), MISSING]
    assert lake.train(spine, "event")[0] == (7, "a", "ok")


def test_a_release_that_never_went_live_was_never_served(lake):
    """Rule 12: what is released and what serves are two things."""
    lake.live(lake.publish(hour(24), [(1, hour(24), 7, "a")], at=hour(25)), at=hour(25))
    lake.publish(hour(48), [(1, hour(48), 8, "b")], at=hour(49))

    assert lake.train([(1, hour(60))]) == [(7, "a", "ok")]
    assert lake.train([(1, hour(60))], "event") == [(8, "b", "ok")]


def test_a_correction_counts_from_when_it_went_live(lake):
    """Rule 12: event mode reads the newest correction at any time."""
    lake.live(lake.publish(hour(24), [(1, hour(24), 7, "a")], at=hour(25)), at=hour(25))
    corrected = lake.publish(hour(24), [(1, hour(24), 9, "a")], at=hour(40))
    lake.live(corrected, at=hour(50))

    spine = [(1, hour(45)), (1, hour(50))]

    assert lake.train(spine) == [(7, "a", "ok"), (9, "a", "ok")]
    assert lake.train(spine, "event") == [(9, "a", "ok"), (9, "a", "ok")]


def test_a_backfill_is_never_served_in_retrospect(lake):
    """Rule 12: it was published for a day on which another snapshot served."""
    lake.live(lake.publish(hour(48), [(1, hour(48), 7, "a")], at=hour(49)), at=hour(50))
    lake.publish(hour(24), [(1, hour(24), 1, "z"), (2, hour(24), 2, "z")], at=hour(60))

    spine = [(1, hour(30)), (2, hour(55)), (2, hour(70))]

    assert lake.train(spine) == [MISSING, MISSING, MISSING]
    # Rules 11 and 20: entity 2 was there on the 24th hour, and the snapshot of the 48th says that it is gone.
    assert [row[2] for row in lake.train(spine, "event")] == ["ok", "missing", "missing"]
    assert lake.train([(2, hour(47))], "event") == [(2, "z", "ok")]


def test_of_two_rows_for_one_time_the_later_published_is_served(lake):
    """Rule 13: an earlier as_of, corrected after the snapshot that went live was made, states the same time anew."""
    lake.publish(hour(24), [(1, hour(24), 1, "a")], at=hour(25))
    later = lake.publish(hour(48), [(1, hour(24), 2, "b")], at=hour(49))
    lake.publish(hour(24), [(1, hour(24), 3, "c")], at=hour(50))

    online = lake.live(later, at=hour(51))

    assert online[1]["count_7d"] == 3
    assert lake.train([(1, hour(52))]) == [(3, "c", "ok")]
    assert lake.train([(1, hour(52))], "event") == [(3, "c", "ok")]


def test_a_rollback_serves_again_what_went_live_then(lake):
    """Rules 12 and 21: the older generation as it was written, without what was corrected since."""
    first = lake.publish(hour(24), [(1, hour(24), 7, "a"), (2, hour(24), 5, "a")], at=hour(25))
    lake.live(first, at=hour(25))
    second = lake.publish(hour(48), [(1, hour(48), 8, "b")], at=hour(49))
    lake.live(second, at=hour(49))
    lake.publish(hour(12), [(3, hour(12), 3, "z")], at=hour(50))
    lake.record("rollback", first.release_id, at=hour(55))

    spine = [(1, hour(54)), (1, hour(55)), (2, hour(54)), (2, hour(56)), (3, hour(56))]

    assert lake.train(spine) == [
        (8, "b", "ok"),
        (7, "a", "ok"),
        MISSING,  # the live snapshot lacks it: gone (rule 11)
        (5, "a", "ok"),
        MISSING,
    ]


def test_nothing_is_served_in_an_outage(lake):
    """Rule 12."""
    lake.live(lake.publish(hour(24), [(1, hour(24), 7, "a")], at=hour(25)), at=hour(25))
    lake.record("down", at=hour(30))
    lake.record("up", at=hour(40))

    spine = [(1, hour(30) - MICROSECOND), (1, hour(30)), (1, hour(40) - MICROSECOND), (1, hour(40))]

    assert lake.train(spine) == [(7, "a", "ok"), MISSING, MISSING, (7, "a", "ok")]


def test_what_goes_live_in_an_outage_ends_it(lake):
    lake.live(lake.publish(hour(24), [(1, hour(24), 7, "a")], at=hour(25)), at=hour(25))
    lake.record("down", at=hour(30))
    lake.live(lake.publish(hour(48), [(1, hour(48), 8, "b")], at=hour(49)), at=hour(50))

    assert lake.train([(1, hour(49)), (1, hour(50))]) == [MISSING, (8, "b", "ok")]
    with pytest.raises(UsageError, match="the ledger says up already"):
        lake.record("up", at=hour(51))


def test_a_served_row_expires_at_its_ttl(tmp_path):
    """Rule 12: the same ttl at t; a row that was past it at the as_of was never put there."""
    lake = LedgerLake(tmp_path, CLICKS.model_copy(update={"ttl": timedelta(hours=10)}))
    rows = [(1, hour(20), 7, "a"), (2, hour(14), 8, "b")]
    lake.live(lake.publish(hour(24), rows, at=hour(24)), at=hour(25))

    spine = [(1, hour(30) - MICROSECOND), (1, hour(30)), (2, hour(25))]

    assert lake.train(spine) == [(7, "a", "ok"), (None, None, "expired"), MISSING]


def test_an_entity_has_one_row_online(lake):
    """Rule 13: the newest of those that the store could hold; none that the live snapshot lacks (rule 11)."""
    lake.publish(hour(24), [(1, hour(24), 1, "a"), (2, hour(24), 2, "a")], at=hour(24))
    release = lake.publish(hour(48), [(1, hour(30), 3, "b"), (1, hour(40), 4, "c")], at=hour(48))
    online = lake.live(release, at=hour(49))

    assert lake.train([(1, hour(49)), (2, hour(49))]) == [(4, "c", "ok"), MISSING]
    assert {user: row["count_7d"] for user, row in online.items()} == {1: 4}


def test_what_never_went_live_cannot_be_asked_for(lake):
    lake.publish(hour(24), [(1, hour(24), 7, "a")], at=hour(25))

    with pytest.raises(NoRelease, match="clicks never went live"):
        lake.train([(1, hour(30))])
    with pytest.raises(UsageError, match="nothing has ever gone live"):
        lake.record("down", at=hour(30))


def test_a_ledger_goes_on_where_the_clock_stepped_back(lake):
    """Rule 21: epochs decide what is newer."""
    first = lake.publish(hour(24), [(1, hour(24), 7, "a")], at=hour(25))
    lake.live(first, at=hour(30))
    lake.record("down", at=hour(20))

    entries = promotions.ledger(lake.lake)

    assert [(entry.epoch, entry.kind) for entry in entries] == [(1, "live"), (2, "down")]
    assert entries[1].promoted_at == hour(30) + MICROSECOND


def test_the_order_of_a_long_spine_is_kept(lake):
    """Rule 15: the epoch is joined, and a join has no order."""
    lake.live(
        lake.publish(hour(24), [(n, hour(24), n, "a") for n in range(50)], at=hour(25)), at=hour(26)
    )
    lake.record("down", at=hour(30))

    spine = [(n % 70, hour((n * 7) % 40)) for n in range(200_000)]

    found = lake.train(spine)
    for (user, moment), row in zip(spine, found, strict=True):
        served = user < 50 and hour(26) <= moment < hour(30)
        assert row == ((user, "a", "ok") if served else MISSING)


@st.composite
def histories(draw):
    """Snapshots of a few days in any order of publishing, and what was done with each."""
    rows = st.tuples(
        st.integers(1, 3),
        st.integers(0, 9),
        st.one_of(st.none(), st.integers(0, 99)),
        st.sampled_from("xy"),
    )
    steps = []
    for _ in range(draw(st.integers(1, 5))):
        day = draw(st.integers(1, 4))
        unique = draw(st.lists(rows, max_size=4, unique_by=lambda row: (row[0], row[1])))
        then = draw(st.sampled_from(["nothing", "live", "live", "rollback", "down", "up"]))
        steps.append((day, unique, then))
    ttl = draw(st.sampled_from([None, 40, 100]))
    return steps, ttl, draw(st.booleans())


@settings(max_examples=25)
@given(histories())
def test_served_is_what_the_exporter_would_have_put_online(tmp_path_factory, history):
    """Rules 12 to 14: an oracle in Python over the rows that the exporter writes, with ttl at t."""
    steps, ttl, carries = history
    table = CLICKS.model_copy(update={"ttl": None if ttl is None else timedelta(hours=ttl)})
    if carries:
        carrying = tuple(f.model_copy(update={"ignore_nulls": True}) for f in table.features)
        table = table.model_copy(update={"features": carrying})
    lake = LedgerLake(tmp_path_factory.mktemp("ledger"), table)
    states: list[tuple] = []
    written, last, is_down = {}, {}, True
    for number, (day, rows, then) in enumerate(steps):
        at, as_of = hour(96 + number * 10), hour(day * 24)
        given_rows = [(u, as_of - timedelta(hours=back), n, c) for u, back, n, c in rows]
        release = lake.publish(as_of, given_rows, at=at)
        moment = at + timedelta(hours=1)
        if then == "live" or not states:
            last = written[release.release_id] = lake.live(release, at=moment)
        elif then == "rollback":
            again = min(written)
            last = written[again]
            lake.record("rollback", again, at=moment)
        elif then == ("up" if is_down else "down"):
            lake.record(then, at=moment)
        else:
            continue
        is_down = bool(states) and then == "down"
        states.append((moment, {} if is_down else last))
    spine = [(user, hour(step)) for user in (1, 2, 3, 4) for step in range(80, 200, 5)]

    expected = [answer(states, table.ttl, user, at) for user, at in spine]
    for status in sorted({row[2] for row in expected}):
        event(status)
    assert lake.train(spine) == expected


def answer(states, ttl, user, at):
    """What a reader of the store would have got at a moment."""
    live = [online for since, online in states if since <= at]
    row = live[-1].get(user) if live else None
    if row is None:
        return MISSING
    if ttl is not None and at >= row["feature_at"] + ttl:
        return (None, None, "expired")
    return (row["count_7d"], row["city"], "ok")
