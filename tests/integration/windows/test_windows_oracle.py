"""What the windows macros compute, against a second implementation in plain Python (rules 4 to 10 and 20)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.integration.windows.aggregate_oracle import COLUMNS, answer, typed
from tests.integration.windows.rendered import CompilerError, macros
from tests.integration.windows.streams import (
    BASES,
    EPOCH,
    UNITS,
    Case,
    Scan,
    accepted,
    arrow,
    bounds,
    cases,
    microseconds,
)

CONNECTION = duckdb.connect(config={"threads": 1})
#: Where a column's value stands in a row: the keys and the event time come first.
PLACE = {name: number for number, name in enumerate(COLUMNS, start=3)}


def expected(case: Case, docks: Sequence[tuple[str, int]] | None) -> list[tuple[Any, ...]]:
    """Every row of the feature table, computed one entity at a time."""
    read = [s for s in accepted(case.scans) if s.at < case.as_of and s.known <= case.cut_off]
    entities = {(s.code, s.dock) for s in read} if docks is None else set(docks)
    start, end = bounds(case)
    rows = []
    for entity in sorted(entities):
        held = [s for s in read if (s.code, s.dock) == entity]
        held = [s for s in held if s.at < end and (start is None or s.at >= start)]
        held.sort(key=lambda s: (s.at, s.known, s.scan_id))
        moment = EPOCH + timedelta(microseconds=case.as_of)
        rows.append((*entity, moment, *(answer(name, held, case.as_of) for name in COLUMNS)))
    return rows


def computed(case: Case, docks: Sequence[tuple[str, int]] | None) -> list[tuple[Any, ...]]:
    """The same by the macros, in DuckDB."""
    features = {
        name: {
            "name": name,
            "data_type": kind,
            "config": {"meta": {"feature": feature | case.declared}},
        }
        for name, (kind, feature) in COLUMNS.items()
    }
    table = {"join_keys": ["code", "group"], "hop": case.hop, "delay": case.delay}
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
        keys=["scan_id", "code", "group"], event_at="seen_at", ingested_at="known_at"
    )
    deduplicated = featmill.deduplicated("sound", "scan_id", "known_at", "seen_at")
    windows = featmill.windows("kept", entities=docks and "docks", **names)
    listed = ", ".join(f"({code!r}, {dock})" for code, dock in docks or [("none", 0)])
    with CONNECTION.cursor() as connection:
        connection.register("scans", arrow(case.scans))
        rows = connection.execute(
            f'WITH docks (code, "group") AS (VALUES {listed}), sound AS (SELECT * FROM scans WHERE {refusal} IS NULL), '
            f'kept AS ({deduplicated}) SELECT * FROM ({windows}) ORDER BY code, "group"'
        ).fetchall()
    kinds = [kind for kind, _ in COLUMNS.values()]
    return [(*row[:3], *map(typed, row[3:], kinds)) for row in rows]


@settings(max_examples=60)
@given(cases())
def test_windows_equal_their_definition(case):
    """Rules 4, 5, 6, 8, 9, 10 and 20, over dirty events around every edge."""
    rows = expected(case, None)
    event(f"entities: {len(rows)}, in the window: {any(row[PLACE['n']] for row in rows)}")

    assert computed(case, None) == rows


@settings(max_examples=60)
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

    counts = [row[PLACE["n"]] for row in computed(case, [("N", 1)])]

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

    assert row[PLACE["last_kind"]] == kind


@settings(max_examples=40)
@given(
    st.integers(-400, 400),
    st.sampled_from(["5m", "1h", "1d"]),
    st.integers(1, 9),
    cases(calendars=False),
)
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
