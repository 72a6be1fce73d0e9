"""Windows at arbitrary times: the full recompute at each time, the range join and the kernel are equal to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from featmill.training.windows_at import How, windows_of
from tests.integration.windows.aggregate_oracle import COLUMNS, typed
from tests.integration.windows.rendered import macros
from tests.integration.windows.streams import UNITS, Case, arrow, bounds, cases

CONNECTION = duckdb.connect(config={"threads": 1})
CONNECTION.execute("SET TimeZone = 'UTC'")
KEYS = [("N", 1), ("N", 11), ("N1", 1), ("", 11), ("never", 1)]
#: The two columns of a composite key, whatever they are called.
CODE, NUMBER = arrow(()).column_names[1:3]
NAMES = {"event_at": "seen_at", "ingested_at": "known_at", "event_id": "scan_id"}
#: Beside a case's own window: each column over its lifetime, in the same request.
ALSO = ("n", "eur", "kg_min", "eur_max", "kinds", "kgs", "last_kinds", "top_kind", "eur_std")


@dataclass(frozen=True)
class Asked:
    """A case with rows of a spine: a key's number and a moment in microseconds."""

    case: Case
    rows: tuple[tuple[int, int], ...]


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """Moments around what happened and around where windows of what happened end and begin."""
    case = draw(cases())
    start, end = bounds(case)
    width = case.as_of - (end - UNITS["d"] if start is None else start)
    moments = [case.as_of, *(s.at for s in case.scans if s.at is not None)]
    near = st.builds(
        lambda moment, by, shift: moment + by + shift,
        st.sampled_from(moments),
        st.sampled_from([-1, 0, 1]),
        st.sampled_from([0, case.as_of - end, width, width + UNITS["h"]]),
    )
    row = st.tuples(st.integers(0, len(KEYS) - 1), near)
    rows = draw(st.lists(row, min_size=1, max_size=4))
    return Asked(case, tuple(rows + draw(st.lists(st.sampled_from(rows), max_size=2))))


def declared(case: Case) -> list[dict[str, Any]]:
    """Every column over the case's window, and some over their lifetime too."""
    own = [
        feature | case.declared | {"name": name, "data_type": kind}
        for name, (kind, feature) in COLUMNS.items()
    ]
    lifetimes = [
        COLUMNS[name][1]
        | {
            "window": "lifetime",
            "delay": "1h",
            "name": f"{name}_ever",
            "data_type": COLUMNS[name][0],
        }
        for name in ALSO
    ]
    return own + lifetimes


def view_of(case: Case) -> dict[str, Any]:
    table = {"keys": [CODE, NUMBER], "hop": case.hop, "delay": case.delay}
    return table | NAMES | {"name": "load", "events": "kept", "features": declared(case)}


def keep(connection, case: Case) -> None:
    """The accepted events up to the cut-off, as a table of their own."""
    featmill = macros()
    refusal = featmill.refusal(
        keys=["scan_id", CODE, NUMBER], event_at="seen_at", ingested_at="known_at"
    )
    deduplicated = featmill.deduplicated("sound", "scan_id", "known_at", "seen_at")
    connection.register("scans", arrow(case.scans))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE kept AS WITH sound AS (SELECT * FROM scans WHERE {refusal} IS NULL) "
        f"SELECT * FROM ({deduplicated}) WHERE known_at <= make_timestamp({case.cut_off})"
    )


def spine_of(rows: tuple[tuple[int, int], ...]) -> str:
    listed = ", ".join(
        f"({KEYS[key][0]!r}, {KEYS[key][1]}, make_timestamp({moment}))" for key, moment in rows
    )
    return f'SELECT * FROM (VALUES {listed}) AS t ({CODE}, "{NUMBER}", asked_at)'


def rebuilt_sql(view: dict[str, Any], case: Case) -> str:
    """`featmill.windows` as a build runs it, at a moment to be put in."""
    table = {"join_keys": view["keys"], "hop": case.hop, "delay": case.delay}
    columns = {
        feature["name"]: {
            "name": feature["name"],
            "data_type": feature["data_type"],
            "config": {"meta": {"feature": feature}},
        }
        for feature in view["features"]
    }
    node = {
        "columns": columns,
        "config": {"event_time": "valid_at", "meta": {"feature_table": table}},
    }
    featmill = macros(
        _feature_node=lambda: node,
        as_of=lambda: "make_timestamp(MOMENT)",
        cut_off=lambda: f"make_timestamp({case.cut_off})",
    )
    return featmill.windows("kept", **NAMES)


def rebuilt(connection, sql: str, moment: int) -> dict[Any, dict]:
    """Key -> column -> value of a build at this moment."""
    found = connection.sql(sql.replace("MOMENT", str(moment))).to_arrow_table().to_pylist()
    return {(row[CODE], row[NUMBER]): row for row in found}


def answers(connection, spine: str, view: dict[str, Any], engine: Any) -> pa.Table:
    found = windows_of(connection, (spine, "asked_at"), view, How(engine, status=True))
    assert found.engine == engine, found.why
    return found.reader().read_all()


@pytest.mark.slow
@settings(max_examples=40)
@given(asked())
def test_every_executor_gives_the_same_value_at_every_time(asked):
    """Rules 4, 5, 6, 8, 15 and 20, over dirty events around every edge, composite keys, ties and duplicates."""
    case = asked.case
    view = view_of(case)
    with CONNECTION.cursor() as connection:
        keep(connection, case)
        by_sql = answers(connection, spine_of(asked.rows), view, "sql")
        by_kernel = answers(connection, spine_of(asked.rows), view, "kernel")
        sql = rebuilt_sql(view, case)
        full = {moment: rebuilt(connection, sql, moment) for _, moment in asked.rows}
    event(f"seen: {by_sql['load__status'].to_pylist().count('ok')} of {len(asked.rows)}")

    assert by_kernel.schema == by_sql.schema
    assert repr(by_kernel.to_pylist()) == repr(by_sql.to_pylist())
    for (key, moment), row in zip(asked.rows, by_sql.to_pylist(), strict=True):
        built = full[moment].get(KEYS[key])
        assert row["load__status"] == ("missing" if built is None else "ok")
        for feature in view["features"]:
            kind, name = feature["data_type"], feature["name"]
            unseen = feature.get("default")
            expected = unseen if built is None else built[name]
            assert typed(row[f"load__{name}"], kind) == typed(expected, kind), name
