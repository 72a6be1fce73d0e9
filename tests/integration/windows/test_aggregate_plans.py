"""The plan of every aggregate: merged states finalise to what one step computes, to the bit (rule 6)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featmill.contract.declarations import AGGREGATES
from tests.integration.windows import aggregate_table
from tests.integration.windows.aggregate_oracle import COLUMNS
from tests.integration.windows.rendered import CompilerError, macros
from tests.integration.windows.streams import Case, arrow, cases

CONNECTION = duckdb.connect(config={"threads": 2})
ORDER = "(seen_at, known_at, scan_id)"
NEEDS: dict[str, dict[str, Any]] = {"ratio": {"of": "y"}, "last_n": {"n": 2}, "std": {"scale": 2}}
DECLARED = {
    name: {**feature, "name": name, "data_type": t} for name, (t, feature) in COLUMNS.items()
}


def plan(feature: dict[str, Any], moment: str = "timestamp '2027-01-01'") -> dict[str, Any]:
    return macros()._aggregate_plan(feature, ORDER, moment)


def states(feature: dict[str, Any]) -> list[str]:
    """The states of event rows, as columns."""
    made = plan(feature)
    where = f" FILTER (WHERE {made['where'] or 'true'} AND ({feature.get('where', 'true')}))"
    return [f"{s['of']}{where} AS {feature['name']}_{s['name']}" for s in made["states"]]


def merged(feature: dict[str, Any]) -> list[str]:
    """The states of states; a FILTER may follow the one aggregate, so one does."""
    columns = []
    for state in plan(feature)["states"]:
        column = f"{feature['name']}_{state['name']}"
        merge = state["merge"].format(column) + " FILTER (WHERE part >= 0)"
        columns.append(f"{state['settle'].format(merge)} AS {column}")
    return columns


def finalised(feature: dict[str, Any]) -> str:
    made = plan(feature)
    return made["finalise"].format(
        **{s["name"]: f"{feature['name']}_{s['name']}" for s in made["states"]}
    )


def direct(feature: dict[str, Any]) -> str:
    where = feature.get("where", "true")
    return macros()._aggregate(feature, f"({where})", ORDER, "timestamp '2027-01-01'")


def to_the_bit(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.hex() if isinstance(value, float) else value for value in row)


def columns(of: Any) -> str:
    return ", ".join(part for feature in DECLARED.values() for part in of(feature))


def values(of: Any) -> str:
    return ", ".join(f"CAST({of(f)} AS {f['data_type']})" for f in DECLARED.values())


def events(case: Case) -> pa.Table:
    """All that have moments, each with an id of its own."""
    timed = [s for s in case.scans if None not in (s.at, s.known)]
    return arrow([replace(scan, scan_id=str(number)) for number, scan in enumerate(timed)])


def in_one_step(case: Case, keep: str = "true") -> tuple[Any, ...]:
    with CONNECTION.cursor() as connection:
        connection.register("scans", events(case))
        (row,) = connection.execute(f"SELECT {values(direct)} FROM scans WHERE {keep}").fetchall()
    return to_the_bit(row)


def in_parts(case: Case, parts: list[int], keep: str = "true") -> tuple[Any, ...]:
    """States of each part, states of some parts together, and then of all: three levels, in the parts' order."""
    scans = events(case)
    part = [parts[number % len(parts)] for number in range(scans.num_rows)]
    with CONNECTION.cursor() as connection:
        connection.register("scans", scans.append_column("part", [part]))
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE parts AS
            SELECT part, {columns(states)} FROM scans WHERE {keep} GROUP BY part ORDER BY hash(part);
            CREATE OR REPLACE TEMP TABLE wider AS
            SELECT part % 3 AS part, {columns(merged)} FROM parts GROUP BY part % 3 ORDER BY part DESC
        """)
        (row,) = connection.execute(
            f"SELECT {values(finalised)} FROM (SELECT {columns(merged)} FROM wider)"
        ).fetchall()
    return to_the_bit(row)


@settings(max_examples=40)
@given(cases(at_least=8), st.lists(st.integers(0, 9), min_size=1, max_size=16))
def test_merged_states_are_what_one_step_computes(case, parts):
    """Rule 6: of any partition of the events, merged in any order and any number of times."""
    assert in_parts(case, parts) == in_one_step(case)


@settings(max_examples=20)
@given(cases())
def test_no_state_is_an_empty_window(case):
    """Rule 5: count and count_distinct are 0, every other aggregate is NULL."""
    nothing = in_parts(case, [0], keep="false")

    assert nothing == in_one_step(case, keep="false")
    zeros = {name for name, value in zip(COLUMNS, nothing, strict=True) if value == 0}
    assert zeros == {"n", "order", "n_eur", "kinds", "kgs"}
    assert {value for value in nothing if value != 0} == {None}


def test_every_aggregate_is_planned_and_tested():
    """Each declares states, merge, finalise and whether it is exact."""
    assert {feature["aggregate"] for feature in DECLARED.values()} == set(AGGREGATES)
    for feature in DECLARED.values():
        made = plan(feature)
        assert set(made) == {"states", "where", "finalise", "exact", "direct"}
        assert all(set(state) == {"name", "of", "merge", "settle"} for state in made["states"])
        assert made["exact"] is True


def test_the_page_about_windows_says_what_the_macro_does():
    assert aggregate_table.written() == aggregate_table.table()


@pytest.mark.parametrize("feature", DECLARED.values(), ids=DECLARED)
def test_states_finalise_without_a_merge(feature):
    """An aggregate call may stand for a state in `finalise`: one step, whatever the short cut says."""
    made = plan(feature)
    where = f" FILTER (WHERE {made['where'] or 'true'})"
    inline = made["finalise"].format(**{s["name"]: s["of"] + where for s in made["states"]})
    events = """
        (SELECT 'a' || i AS scan_id, make_timestamp(i // 2) AS seen_at, make_timestamp(i % 3) AS known_at,
            CAST(i % 7 / 4 AS DECIMAL(12, 2)) AS eur, CASE WHEN i % 5 > 0 THEN i % 5 / 8 END AS kg,
            CAST(i % 4 AS INTEGER) AS pieces, nullif(chr(CAST(97 + i % 3 AS INTEGER)), 'c') AS kind
         FROM range(40) AS numbers (i))
    """
    everything = macros()._aggregate(feature, "true", ORDER, "timestamp '2027-01-01'")

    (row,) = CONNECTION.execute(f"SELECT {inline}, {everything} FROM {events}").fetchall()

    assert row[0] is not None or feature.get("where")
    assert to_the_bit(row[:1]) == to_the_bit(row[1:])


@pytest.mark.parametrize(
    ("aggregate", "kind", "values", "found"),
    [
        # Rule 6: what an integer type cannot hold is held by a wider one...
        ("sum", "INTEGER", [2**31 - 1, 2**31 - 1], 2**32 - 2),
        ("sum", "BIGINT", [2**63 - 1, 2**63 - 1, -(2**63 - 1)], 2**63 - 1),
        ("sum", "UBIGINT", [2**63, 2**62], 2**63 + 2**62),
        ("mean", "BIGINT", [2**63 - 1, 2**63 - 1], float(2**63)),
        ("std", "INTEGER", [46341, -46341], 65536.07), ("std", "BIGINT", [3037000500, 0], 2147483648.02),
        ("ratio", "BIGINT", [2**63 - 1, 2**63 - 1], 1.0),
        # ...and what no type can hold is an error, not another number.
        ("sum", "HUGEINT", [2**127 - 1, 1], None),
        ("sum", "DECIMAL(38, 0)", [10**38 - 1, 1], None),
        ("std", "HUGEINT", [2**80, 1], None),
    ],
)  # fmt: skip
def test_no_integer_overflows_in_silence(aggregate, kind, values, found):
    feature = {"name": "x", "aggregate": aggregate, "value": "x", "of": "x", "data_type": "double"}
    listed = ", ".join(f"('{value}'::{kind})" for value in values)
    sql = f"SELECT {macros()._aggregate(feature, 'true', ORDER, 't')} FROM (VALUES {listed}) AS given (x)"

    if found is None:
        with pytest.raises(duckdb.Error, match=r"Overflow|out of range|does not fit"):
            CONNECTION.execute(sql).fetchall()
    else:
        ((value,),) = CONNECTION.execute(sql).fetchall()
        assert (round(value, 2) if aggregate == "std" else value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [("1e30::double", None), ("'nan'::double", None), ("0.005::double", Decimal("0.01"))],
)
def test_a_double_is_rounded_to_its_scale_or_refused(value, found):
    """Rule 6."""
    feature = {"name": "x", "aggregate": "sum", "value": value, "scale": 2}
    sql = f"SELECT {macros()._aggregate(feature, 'true', ORDER, 't')}"

    if found is None:
        with pytest.raises(duckdb.ConversionException):
            CONNECTION.execute(sql).fetchall()
    else:
        assert CONNECTION.execute(sql).fetchall() == [(found,)]


@pytest.mark.parametrize("aggregate", ["min", "max", "top"])
@pytest.mark.parametrize("zeros", [("0.0", "-0.0"), ("-0.0", "0.0")])
@pytest.mark.parametrize("data_type", ["double", "REAL"])
def test_which_zero_is_met_first_is_no_matter(aggregate, zeros, data_type):
    feature = {"name": "x", "aggregate": aggregate, "value": "x", "data_type": data_type}
    listed = ", ".join(f"('{zero}'::double)" for zero in zeros)
    sql = (
        f"SELECT {macros()._aggregate(feature, 'true', ORDER, 't')} FROM (VALUES {listed}) AS v (x)"
    )

    ((value,),) = CONNECTION.execute(sql).fetchall()

    assert value.hex() == (0.0).hex()


@pytest.mark.parametrize(
    ("feature", "told"),
    [
        (
            {"aggregate": "median", "value": "x"},
            "an aggregate is one of count, .*, top, got: median",
        ),
        ({"aggregate": "ratio", "value": "x"}, "ratio needs what it is divided by"),
        ({"aggregate": "last_n", "value": "x"}, "last_n needs how many"),
        ({"aggregate": "last_n", "value": "x", "n": 0}, "last_n needs how many"),
        ({"aggregate": "last_n", "value": "x", "n": "5"}, "last_n needs how many"),
        *(
            ({"aggregate": a} | NEEDS.get(a, {}), f"{a} needs a value")
            for a in AGGREGATES
            if a not in ("count", "time_since_last")
        ),
    ],
)
def test_what_an_aggregate_lacks_is_told_with_its_column(feature, told):
    with pytest.raises(CompilerError, match=f"spent_7d: {told}"):
        plan({"name": "spent_7d", "data_type": "double", **feature})
