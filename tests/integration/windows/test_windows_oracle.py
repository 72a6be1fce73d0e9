"""What the windows macros compute, against a second implementation in plain Python (rules 4 to 10 and 20)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.integration.windows.rendered import CompilerError, macros

CONNECTION = duckdb.connect(config={"threads": 1})
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - moments are UTC (rule 1)
UNITS = {"s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
SKEW = 5 * UNITS["m"]
#: The epoch itself (hops are aligned to it), a day's end, and the hour that Europe skips.
BASES = [0, 20512 * UNITS["d"], 20541 * UNITS["d"] + UNITS["h"]]
WINDOWS = ["1s", "90s", "1h", "24h", "7d", "lifetime"]
HOPS = ["exact", "1s", "5m", "1h", "1d"]
DELAYS = ["0s", "1s", "30m", "1d"]


@dataclass(frozen=True)
class Scan:
    """An event as it arrives: moments in microseconds since the epoch, None where they are missing."""

    scan_id: str | None
    code: str | None
    dock: int
    cents: int | None
    kind: str | None
    at: int | None
    known: int | None


@dataclass(frozen=True)
class Case:
    """A feature table's declaration, a run's moments and its events."""

    window: str
    hop: str
    delay: str
    as_of: int
    cut_off: int
    scans: tuple[Scan, ...]


def microseconds(duration: str) -> int:
    return int(duration[:-1]) * UNITS[duration[-1]]


def bounds(case: Case) -> tuple[int | None, int]:
    """Rule 4 as it is written: floor(t - w, hop) <= event_at < t, both shifted back by the delay."""
    end = case.as_of - microseconds(case.delay)
    if case.window == "lifetime":
        return None, end
    start = end - microseconds(case.window)
    return (start if case.hop == "exact" else start - start % microseconds(case.hop)), end


def rarely(value: Any, otherwise: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One example in twelve is `value`: more, and no row would be sound."""
    return st.integers(0, 11).flatmap(lambda n: st.just(value) if n == 11 else otherwise)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    window, hop, delay = (draw(st.sampled_from(from_)) for from_ in (WINDOWS, HOPS, DELAYS))
    hop_us = 1 if hop == "exact" else microseconds(hop)
    offset = st.one_of(
        st.just(0), st.integers(0, 3).map(lambda n: n * hop_us), st.integers(-(10**9), 10**9)
    )
    as_of = draw(st.sampled_from(BASES)) + draw(offset)
    frame = Case(window, hop, delay, as_of, as_of + draw(st.sampled_from([0, 1, UNITS["d"]])), ())
    start, end = bounds(frame)
    edges = [as_of, end, end - UNITS["d"] if start is None else start]
    edges += [] if window == "lifetime" else [end - microseconds(window)]
    near = st.builds(
        lambda edge, by: edge + by, st.sampled_from(edges), st.sampled_from([-1, 0, 1])
    )
    within = st.integers(end - UNITS["d"] if start is None else start, end)
    at = rarely(None, st.one_of(near, within, st.integers(as_of - UNITS["d"], as_of + UNITS["h"])))
    soon = st.sampled_from([0, 1, UNITS["s"]]).map(lambda by: ("after", by))
    early = st.sampled_from([-SKEW, -SKEW - 1, -SKEW + 1]).map(lambda by: ("after", by))
    late = st.sampled_from([-1, 0, 1]).map(lambda by: ("cut off", by))
    known = rarely(None, st.one_of(soon, soon, soon, early, late))

    def scan(scan_id, code, dock, cents, kind, at, known) -> Scan:
        where = {"after": at if at is not None else as_of, "cut off": frame.cut_off}
        return Scan(scan_id, code, dock, cents, kind, at, known and where[known[0]] + known[1])

    scans = st.lists(
        st.builds(
            scan,
            scan_id=st.one_of(
                st.sampled_from(["a", "b", "c", "d", "e", "B", "10", "9"]), st.none()
            ),
            code=rarely(None, st.sampled_from(["N", "N", "N1", ""])),
            dock=st.sampled_from([1, 11]),
            cents=st.one_of(st.integers(-500, 500), st.integers(-500, 500), st.none()),
            kind=st.sampled_from(["box", "bag", None]),
            at=at,
            known=known,
        ),
        min_size=2,
        max_size=16,
        # Of copies that tie in both moments the content decides, which only SQL knows.
        unique_by=lambda s: (s.scan_id, s.at, s.known),
    )
    return Case(window, hop, delay, as_of, frame.cut_off, tuple(draw(scans)))


def accepted(scans: Sequence[Scan]) -> list[Scan]:
    """Rules 8 and 10: no NULLs, nothing from the future, of each id the first ingested."""
    sound = [
        s
        for s in scans
        if None not in (s.scan_id, s.code, s.at, s.known) and s.at <= s.known + SKEW
    ]
    first: dict[str | None, Scan] = {}
    for scan in sorted(sound, key=lambda s: (s.known, s.at)):
        first.setdefault(scan.scan_id, scan)
    return list(first.values())


def expected(case: Case, docks: Sequence[tuple[str, int]] | None) -> list[tuple[Any, ...]]:
    """Every row of the feature table, computed one entity at a time."""
    read = [s for s in accepted(case.scans) if s.at < case.as_of and s.known <= case.cut_off]
    entities = {(s.code, s.dock) for s in read} if docks is None else set(docks)
    start, end = bounds(case)
    rows = []
    for entity in entities:
        held = [s for s in read if (s.code, s.dock) == entity]
        held = [s for s in held if s.at < end and (start is None or s.at >= start)]
        held.sort(key=lambda s: (s.at, s.known, s.scan_id))
        cents = [s.cents for s in held if s.cents is not None]
        boxes = [s.cents for s in held if s.cents is not None and s.kind == "box"]
        rows.append(
            (
                *entity,
                EPOCH + timedelta(microseconds=case.as_of),
                len(held),
                len(cents),
                Decimal(sum(cents)) / 100 if cents else None,
                Decimal(sum(cents)) / 100 if cents else None,
                sum(cents) / 100 / len(cents) if cents else None,
                Decimal(min(cents)) / 100 if cents else None,
                Decimal(max(cents)) / 100 if cents else None,
                next((s.kind for s in reversed(held) if s.kind is not None), None),
                len({s.kind for s in held if s.kind is not None}),
                Decimal(sum(boxes)) / 100 if boxes else Decimal(-1),
            )
        )
    return sorted(rows)


COLUMNS: dict[str, tuple[str, dict[str, Any]]] = {
    "n": ("bigint", {"aggregate": "count"}),
    "n_eur": ("bigint", {"aggregate": "count", "value": "eur"}),
    "eur": ("decimal(18, 2)", {"aggregate": "sum", "value": "eur"}),
    "eur_double": ("decimal(18, 2)", {"aggregate": "sum", "value": "eur::double", "scale": 2}),
    "eur_mean": ("double", {"aggregate": "mean", "value": "eur"}),
    "eur_min": ("decimal(18, 2)", {"aggregate": "min", "value": "eur"}),
    "eur_max": ("decimal(18, 2)", {"aggregate": "max", "value": "eur"}),
    "last_kind": ("varchar", {"aggregate": "last", "value": "kind"}),
    "kinds": ("bigint", {"aggregate": "count_distinct", "value": "kind"}),
    "eur_boxes": (
        "decimal(18, 2)",
        {"aggregate": "sum", "value": "eur", "where": "kind = 'box'", "default": -1},
    ),
}


def computed(case: Case, docks: Sequence[tuple[str, int]] | None) -> list[tuple[Any, ...]]:
    """The same by the macros, in DuckDB."""
    features = {
        name: {
            "name": name,
            "data_type": kind,
            "config": {"meta": {"feature": {**feature, "window": case.window}}},
        }
        for name, (kind, feature) in COLUMNS.items()
    }
    table = {"join_keys": ["code", "dock"], "hop": case.hop, "delay": case.delay}
    node = {
        "columns": features,
        "config": {"event_time": "valid_at", "meta": {"feature_table": table}},
    }
    featmill = macros(
        _feature_node=lambda: node,
        as_of=lambda: f"make_timestamp({case.as_of})",
        cut_off=lambda: f"make_timestamp({case.cut_off})",
    )
    names = {"event_at": "seen_at", "ingested_at": "known_at", "event_id": "scan_id"}
    refusal = featmill.refusal(
        keys=["scan_id", "code", "dock"], event_at="seen_at", ingested_at="known_at"
    )
    deduplicated = featmill.deduplicated("sound", "scan_id", "known_at", "seen_at")
    windows = featmill.windows("kept", entities=docks and "docks", **names)
    listed = ", ".join(f"({code!r}, {dock})" for code, dock in docks or [("none", 0)])
    with CONNECTION.cursor() as connection:
        connection.register("scans", arrow(case.scans))
        return connection.execute(
            f"WITH docks (code, dock) AS (VALUES {listed}), sound AS (SELECT * FROM scans WHERE {refusal} IS NULL), "
            f"kept AS ({deduplicated}) SELECT * FROM ({windows}) ORDER BY code, dock"
        ).fetchall()


def arrow(scans: Sequence[Scan]) -> pa.Table:
    moment = pa.timestamp("us")
    eur = [None if s.cents is None else Decimal(s.cents) / 100 for s in scans]
    return pa.table(
        {
            "scan_id": pa.array([s.scan_id for s in scans], pa.string()),
            "code": pa.array([s.code for s in scans], pa.string()),
            "dock": pa.array([s.dock for s in scans], pa.int32()),
            "eur": pa.array(eur, pa.decimal128(12, 2)),
            "kind": pa.array([s.kind for s in scans], pa.string()),
            "seen_at": pa.array([s.at for s in scans], moment),
            "known_at": pa.array([s.known for s in scans], moment),
        }
    )


@settings(max_examples=150)
@given(cases())
def test_windows_equal_their_definition(case):
    """Rules 4, 5, 6, 8, 9, 10 and 20, over dirty events around every edge."""
    rows = expected(case, None)
    event(f"entities: {len(rows)}, in the window: {any(row[3] for row in rows)}")

    assert computed(case, None) == rows


@settings(max_examples=150)
@given(cases())
def test_declared_entities_are_the_rows(case):
    """Rule 20: no more and no fewer, each once; an entity without events has empty windows."""
    docks = [("N", 1), ("N", 11), ("N1", 1), ("N1", 1), ("Z", 9)]

    assert computed(case, docks) == expected(case, docks)


@pytest.mark.parametrize(
    ("at", "inside"),
    [(-1, True), (0, False), (1, False), (-UNITS["h"], True), (-UNITS["h"] - 1, False)],
)
def test_the_left_edge_is_in_and_the_right_edge_is_out(at, inside):
    """Rule 4: [t - w, t), to the microsecond."""
    as_of = BASES[1]
    scan = Scan("a", "N", 1, 100, "box", as_of + at, as_of)
    case = Case("1h", "exact", "0s", as_of, as_of, (scan,))

    counts = [row[3] for row in computed(case, [("N", 1)])]

    assert counts == [1 if inside else 0]


@pytest.mark.parametrize(
    ("scans", "kind"),
    [
        # The same moment, known later; the same moments, another id: in both orders of arrival.
        ([("b", "box", -2, -2), ("a", "bag", -2, -1)], "bag"),
        ([("a", "bag", -2, -1), ("b", "box", -2, -2)], "bag"),
        ([("a", "box", -2, -1), ("b", "bag", -2, -1)], "bag"),
        ([("b", "bag", -2, -1), ("a", "box", -2, -1)], "bag"),
        # What happened last is last, however early it was known; a NULL is no value.
        ([("a", "box", -3, -1), ("b", "bag", -2, -2)], "bag"),
        ([("a", "bag", -3, -3), ("b", None, -2, -2)], "bag"),
    ],
)
def test_the_last_value_follows_the_total_order(scans, kind):
    """Rule 8: (event_at, ingested_at, event_id)."""
    as_of = BASES[1]
    events = tuple(Scan(i, "N", 1, 100, k, as_of + at, as_of + known) for i, k, at, known in scans)

    (row,) = computed(Case("1h", "exact", "0s", as_of, as_of, events), None)

    assert row[10] == kind


@settings(max_examples=40)
@given(st.integers(-400, 400), st.sampled_from(["5m", "1h", "1d"]), st.integers(1, 9), cases())
def test_at_a_multiple_of_the_hop_the_value_is_exact(hops, hop, length, case):
    """Rule 4: where the window is a multiple too; the hop is then no approximation."""
    step = microseconds(hop)
    start = BASES[1] - BASES[1] % step + hops * step
    window = f"{length * step // UNITS['s']}s"
    scans = tuple(
        Scan(
            s.scan_id,
            s.code,
            s.dock,
            s.cents,
            s.kind,
            s.at and s.at % (12 * step) + start - 11 * step,
            start,
        )
        for s in case.scans
    )
    unique = {(s.scan_id, s.at): s for s in scans}
    aligned = Case(window, hop, "0s", start, start + UNITS["d"], tuple(unique.values()))
    exact = Case(window, "exact", "0s", start, start + UNITS["d"], tuple(unique.values()))

    assert computed(aligned, None) == computed(exact, None)


@pytest.mark.parametrize("hop", ["7m", "0s", "36h", "5 minutes", "-1h"])
def test_a_hop_that_does_not_divide_the_day_is_refused(hop):
    """Rule 4: exact, or a step that divides the day."""
    with pytest.raises(CompilerError):
        macros().window_start("t", "7d", hop)


@pytest.mark.parametrize("window", ["7", "7 days", "1.5h", "", "d", "-7d", "1w", "7D"])
def test_a_window_that_is_no_duration_is_refused(window):
    """Rule 1: a duration is exact seconds."""
    with pytest.raises(CompilerError, match="whole number and one of s, m, h, d"):
        macros().in_window("event_at", "t", window)


def test_an_unknown_aggregate_names_those_there_are():
    with pytest.raises(CompilerError, match=r"count, count_distinct, sum, .*, got: median"):
        macros()._aggregate({"aggregate": "median", "value": "x"}, "true", "at", "t")


@pytest.mark.parametrize("aggregate", ["sum", "mean", "min", "max", "last", "count_distinct"])
def test_an_aggregate_without_a_value_is_refused(aggregate):
    with pytest.raises(CompilerError, match=f"{aggregate} needs a value"):
        macros()._aggregate({"aggregate": aggregate}, "true", "at", "t")
