"""Windows from tiles equal windows from events to the bit, on any stream, in any sequence of builds (rules 4 to 9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.integration.windows.aggregate_oracle import COLUMNS
from tests.integration.windows.rendered import CompilerError
from tests.integration.windows.tile_runs import Shape, TileRuns

#: Around the hour that Europe skips, so that calendar windows differ from durations.
BASE = datetime(2026, 3, 29)  # noqa: DTZ001 - moments are UTC (rule 1)
DAY = timedelta(days=1)


def windows(*declared: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    """`7d`, `7d hop=1h delay=30m`, `month zone=Europe/London`."""
    found = []
    for text in declared:
        first, *others = text.split()
        kind = "calendar" if first in ("day", "week", "month") else "window"
        pairs = [other.partition("=")[::2] for other in others]
        found.append(((kind, first), *pairs))
    return tuple(found)


MIXED = windows(
    "1d", "3d", "lifetime", "90s", "7d hop=1h", "day zone=Europe/London", "26h delay=30m", "lifetime delay=1d",
    "month zone=Asia/Kolkata", "3h hop=exact", "7d hop=1d delay=1h", "week zone=America/Sao_Paulo", "1d hop=12h",
)  # fmt: skip
SHAPES = [
    Shape(tile, hop, delay, MIXED[turn:] + MIXED[:turn], tuple(COLUMNS)[part::2])
    for turn, (tile, hop, delay) in enumerate(
        [
            (None, "exact", "0s"),
            ("1d", "exact", "0s"),
            ("6h", "exact", "30m"),
            ("1h", "1h", "0s"),
            ("12h", "5m", "1s"),
            (None, "6h", "1h"),
        ]
    )
    for part in (0, 1)
]
#: Where edges of tiles, hops, windows and local days lie, relative to the base.
EDGES = [
    timedelta(), DAY, -DAY, 3 * DAY, -3 * DAY, -7 * DAY, timedelta(hours=-1), timedelta(hours=-3), timedelta(hours=6),
    timedelta(minutes=-30), timedelta(seconds=-90), timedelta(hours=-26, minutes=-30), timedelta(hours=5, minutes=30),
]  # fmt: skip
AS_OFS = st.builds(
    lambda days, part: BASE + days * DAY + part,
    st.integers(0, 3),
    st.sampled_from(
        [
            timedelta(),
            timedelta(),
            timedelta(hours=1),
            timedelta(hours=13, minutes=7, microseconds=1),
        ]
    ),
)
MOMENTS = st.one_of(
    st.builds(
        lambda as_of, edge, by: as_of + edge + timedelta(microseconds=by),
        AS_OFS,
        st.sampled_from(EDGES),
        st.sampled_from([-1, 0, 1]),
    ),
    st.builds(lambda minutes: BASE + timedelta(minutes=minutes), st.integers(-20_000, 6_000)),
)
LEARNT = st.builds(
    lambda days, by: BASE + days * DAY + timedelta(microseconds=by),
    st.integers(0, 4),
    st.sampled_from([-1, 0, 1]),
)
EVENTS = st.tuples(
    st.sampled_from(["N", "N", "N1", None]),
    st.sampled_from([1, 1, 11]),
    st.one_of(st.integers(-500, 500), st.none()),
    st.sampled_from(["box", "bag", None]),
    st.sampled_from([0, 1, 2, -1, 50_000, 2**31 - 1, -(2**31), None]),
    st.one_of(st.integers(-9999, 9999), st.none()),
    MOMENTS,
    LEARNT,
)
ACTIONS = st.one_of(
    st.tuples(st.just("learn"), st.lists(EVENTS, min_size=1, max_size=8)),
    st.tuples(st.just("build"), AS_OFS, st.just(None)),
    st.tuples(st.just("build"), AS_OFS, st.just(None)),
    st.tuples(st.just("build"), AS_OFS, LEARNT),
    st.tuples(st.sampled_from(["change", "remove"]), st.integers(0, 9)),
)


def learn(runs: TileRuns, events: list[tuple[Any, ...]], first: int) -> None:
    for number, (code, dock, cents, kind, pieces, grams, seen, known) in enumerate(events, first):
        runs.connection.execute(
            "INSERT INTO events VALUES (?, ?, ?, CAST(? AS DECIMAL(12, 2)) / 100, ?, ?, ? / 1000.0, ?, ?)",
            [
                f"{number * 7 % 100:02}-{number}",
                code,
                dock,
                cents,
                kind,
                pieces,
                grams,
                seen,
                known,
            ],
        )


def check(runs: TileRuns, as_of: datetime, cut_off: datetime) -> int | None:
    """Build and compare; what the build did."""
    built = runs.build(str(cut_off))
    assert runs.tiled(str(as_of), str(cut_off)) == runs.full(str(as_of), str(cut_off))
    return built


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(SHAPES),
    st.booleans(),
    st.lists(EVENTS, max_size=12),
    st.lists(ACTIONS, max_size=8),
)
def test_every_build_equals_a_full_recompute(shape, has_entities, known_at_first, actions):
    """Late, tied, out of order, at every edge; corrected, removed, learnt of before the bookmark; at any cut-off."""
    with TileRuns(shape, has_entities=has_entities) as runs:
        learn(runs, known_at_first, 0)
        count, cut_off = len(known_at_first), BASE
        for what, *details in [*actions, ("build", BASE + 2 * DAY, BASE + 4 * DAY)]:
            if what == "learn":
                learn(runs, details[0], count)
                count += len(details[0])
            elif what == "build":
                # Most builds come after the one before; some go back.
                cut_off = details[1] or min(cut_off + DAY, BASE + 4 * DAY)
                built = check(runs, details[0], cut_off)
                event("anew" if built is None else "nothing new" if built == 0 else "touched tiles")
            elif what == "change":
                change = "UPDATE events SET pieces = 7, kind = 'tub' WHERE scan_id LIKE ?"
                runs.connection.execute(change, [f"%-{details[0]}"])
            else:
                runs.connection.execute(
                    "DELETE FROM events WHERE scan_id LIKE ?", [f"%-{details[0]}"]
                )


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(SHAPES), st.lists(EVENTS, max_size=25), st.lists(AS_OFS, min_size=1, max_size=3)
)
def test_growing_cut_offs_over_one_stream(shape, events, as_ofs):
    """The stream is as it is; each build knows a little more of it, and computes only the tiles of that."""
    with TileRuns(shape) as runs:
        learn(runs, events, 0)
        for days in range(5):
            known = runs.count("tiles")
            built = check(runs, as_ofs[days % len(as_ofs)], BASE + days * DAY)
            assert (built is None) == (known == 0)
            event("anew" if built is None else "continued")


SIMPLE = Shape("1d", "exact", "0s", windows("3d"), ("n", "eur", "last_kind", "kinds"))


def scan(at: str, known: str, code: str | None = "N") -> tuple[Any, ...]:
    return (code, 1, 100, "box", 1, 5, datetime.fromisoformat(at), datetime.fromisoformat(known))


@pytest.fixture
def runs():
    """Three days of one key, tiled up to the end of the second."""
    with TileRuns(SIMPLE) as runs:
        learn(
            runs,
            [scan(f"2026-03-0{day} 10:00", f"2026-03-0{day} 11:00") for day in (1, 2, 2, 3)],
            0,
        )
        learn(runs, [scan("2026-03-01 10:00", "2026-03-01 11:00", None)], 4)
        assert runs.build("2026-03-02 12:00:00") is None
        yield runs


def equal(runs: TileRuns, cut_off: str = "2026-03-05", as_of: str = "2026-03-04") -> bool:
    rows = runs.tiled(as_of, cut_off)
    return rows == runs.full(as_of, cut_off) and len(rows) == 2


def test_only_the_tiles_of_new_events_are_computed_anew(runs):
    """A late event touches its own day; a key that is NULL is a key (the gate refuses it, not the tiles)."""
    before = runs.connection.execute(
        "SELECT count(*), max(tile_cut_off)::DATE::VARCHAR FROM tiles"
    ).fetchall()
    learn(
        runs, [scan("2026-03-01 23:59", "2026-03-04"), scan("2026-03-01", "2026-03-04", None)], 10
    )

    assert runs.build("2026-03-05") == 3

    assert before == [(3, "2026-03-02")]
    kept = "SELECT tile_start::DATE::VARCHAR FROM tiles WHERE tile_cut_off < '2026-03-05'"
    assert runs.connection.execute(kept).fetchall() == [("2026-03-02",)]
    assert equal(runs)


def test_a_build_without_new_events_computes_nothing(runs):
    assert runs.build("2026-03-02 13:00:00") == 0
    assert equal(runs, "2026-03-02 13:00:00")


def test_an_earlier_cut_off_is_built_anew(runs):
    assert runs.build("2026-03-01 12:00:00") is None
    assert equal(runs, "2026-03-01 12:00:00")


CORRECTIONS = {
    "a value": "UPDATE events SET eur = 7 WHERE scan_id LIKE '%-0'",
    "a value that becomes NULL": "UPDATE events SET eur = NULL WHERE scan_id LIKE '%-0'",
    "values that change places": (
        "UPDATE events SET eur = CASE WHEN scan_id LIKE '%-1' THEN 1 ELSE 2 END WHERE seen_at::DATE = '2026-03-02'"
    ),
    "the time": "UPDATE events SET seen_at = '2026-03-01 09:00' WHERE scan_id LIKE '%-0'",
    "the key": "UPDATE events SET dock = 9 WHERE scan_id LIKE '%-0'",
    "the id": "UPDATE events SET scan_id = 'zz' WHERE scan_id LIKE '%-0'",
    "removed": "DELETE FROM events WHERE scan_id LIKE '%-1'",
    "removed and learnt of anew": "UPDATE events SET eur = 8, known_at = '2026-03-03 01:00' WHERE scan_id LIKE '%-0'",
    "learnt of before": "INSERT INTO events SELECT * REPLACE ('q' AS scan_id) FROM events LIMIT 1",
}


@pytest.mark.parametrize("correction", CORRECTIONS.values(), ids=list(CORRECTIONS))
def test_a_correction_of_what_was_tiled_is_built_anew(runs, correction):
    runs.connection.execute("UPDATE events SET eur = 2 WHERE scan_id LIKE '%-1'")
    assert runs.build("2026-03-02 12:00:00") is None

    runs.connection.execute(correction)

    assert runs.build("2026-03-05") is None
    rows = runs.tiled("2026-03-04", "2026-03-05")
    assert rows == runs.full("2026-03-04", "2026-03-05")


@pytest.mark.parametrize(
    "shape",
    [
        replace(SIMPLE, tile="6h"),
        replace(SIMPLE, columns=("n", "eur")),
        replace(SIMPLE, columns=("n", "eur_boxes", "last_kind")),
    ],
    ids=["the width", "fewer columns", "another column"],
)
def test_another_declaration_is_built_anew(runs, shape):
    runs.declare(shape)

    assert runs.build("2026-03-05") is None
    assert equal(runs)


def test_another_window_over_the_same_states_is_not(runs):
    runs.declare(replace(SIMPLE, windows=windows("lifetime", "1d", "90s"), delay="1h"))

    assert runs.build("2026-03-05") == 1
    assert equal(runs)


def test_a_value_of_another_type_is_built_anew(runs):
    runs.connection.execute("ALTER TABLE events ALTER kind TYPE VARCHAR[] USING [kind]")
    runs.declare(replace(SIMPLE, columns=("n", "eur")))
    runs.build("2026-03-02 12:00:00")
    runs.connection.execute("ALTER TABLE events ALTER eur TYPE BIGINT")

    assert runs.build("2026-03-05") is None
    assert equal(runs)


STALE = {
    "of another definition": "UPDATE tiles SET tile_definition = 'x'",
    "of a later cut-off": "UPDATE tiles SET tile_cut_off = '2026-03-09'",
    "of fewer events": "DELETE FROM tiles WHERE tile_start = '2026-03-02'",
    "of no events": "DELETE FROM tiles",
}


@pytest.mark.parametrize("change", STALE.values(), ids=list(STALE))
def test_tiles_that_do_not_fit_the_events_are_refused(runs, change):
    runs.connection.execute(change)

    with pytest.raises(duckdb.Error, match="build them together"):
        runs.tiled("2026-03-04", "2026-03-02 12:00:00")


def test_an_event_that_was_not_tiled_yet_is_refused(runs):
    with pytest.raises(duckdb.Error, match="build them together"):
        runs.tiled("2026-03-04", "2026-03-04")


@pytest.mark.parametrize("tile", ["7h", "0s", "2d"])
def test_a_tile_divides_the_day(tile):
    with pytest.raises(CompilerError, match="divides the day"):
        TileRuns(replace(SIMPLE, tile=tile))


def test_a_tile_is_as_wide_as_the_finest_hop_where_none_is_declared():
    assert Shape(None, "exact", "0s", windows("1d"), ("n",)).width == 86_400_000_000
    assert Shape(None, "1h", "0s", windows("1d", "3d hop=5m"), ("n", "eur")).width == 300_000_000
