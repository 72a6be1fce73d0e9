"""Other projects' as-of joins as lookup cases of ours; what cannot be one says why.

A value of the `on` column becomes a moment, in an order-preserving way: integers are microseconds, other types that
have an order but no distance count by rank. A `forward` join is a backward one with time reversed. Bounds that include
their end are a ttl of one microsecond more; joins that exclude the same moment see a row from one microsecond later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from featmill.conformance.case import Case, Table

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Right rows are found by number, then their columns compared.
FEATURE = "row_number_of_right"
#: The columns that pandas' tests set as the index and then show as columns.
INDEX_COLUMNS = ("__index0", "time", "left_time")


@dataclass(frozen=True)
class Foreign:
    """A case of ours made of a foreign one, with its tables; `merged` columns show the left row's moment in the end."""

    id: str
    case: Case | None = None
    right: Table | None = None
    left: Table | None = None
    expected: Table | None = None
    reason: str | None = None
    merged: frozenset[str] = frozenset()


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(given: Mapping[str, Any]) -> Table:
    return Table(tuple((n, k) for n, k in given["columns"]), tuple(tuple(r) for r in given["rows"]))


def asof_case(given: Mapping[str, Any]) -> Foreign:
    """A pandas `merge_asof` or polars `join_asof` case."""
    kwargs = given["kwargs"]
    left, right, expected = (table(given[name]) for name in ("left", "right", "expected"))
    direction = kwargs.get("direction") or kwargs.get("strategy") or "backward"
    if direction == "nearest":
        return Foreign(given["id"], reason="nearest may find a row of the future (rule 12)")
    left_keys, right_keys = keys_of(kwargs, "left"), keys_of(kwargs, "right")
    if set(expected.names) <= set(left.names):
        return Foreign(given["id"], reason="its answer shows nothing of what was found")
    left_on, right_on = on_of(kwargs, "left", left), on_of(kwargs, "right", right)
    # A spine with a NULL time or key is refused whole (rule 15): the rows without one are asked for.
    asked = [
        number
        for number, (on, key) in enumerate(zip(left_on, picked(left, left_keys), strict=True))
        if on is not None and None not in key
    ]
    left, expected = only(left, asked), only(expected, asked)
    left_on = [left_on[number] for number in asked]
    moments = as_microseconds([*left_on, *right_on], kwargs.get("tolerance"))
    if direction == "forward":
        moments = {value: -at for value, at in moments.items()}
    exact = kwargs.get("allow_exact_matches", True)
    rows = []
    for number, (key, on) in enumerate(zip(picked(right, right_keys), right_on, strict=True)):
        if on is not None:
            later = number if direction == "backward" else len(right_on) - number
            rows.append((key, moments[on] + (0 if exact else 1), later, number))
    tolerance = kwargs.get("tolerance")
    ttl = None if tolerance is None else int(tolerance) + (1 if exact else 0)
    spine = [(key, moments[on]) for key, on in zip(picked(left, left_keys), left_on, strict=True)]
    kinds = [dict(left.columns)[name] for name in left_keys]
    case = lookup(given["id"], kinds, rows, spine, ttl)
    merged = {"__index0", str(kwargs.get("on"))}
    if str(kwargs.get("left_on")).startswith("DatetimeIndex"):
        merged.add(str(kwargs["right_on"]))
    return Foreign(given["id"], case, right, left, expected, merged=frozenset(merged))


def feast_case(given: Mapping[str, Any]) -> Foreign:
    """A historical retrieval of Feast; its ttl includes its end."""
    if given["filter_by_created_timestamp"]:
        reason = "as_of=served follows what went live, not when a row was created (rule 12)"
        return Foreign(given["id"], reason=reason)
    labels, features = table(given["labels"]), table(given["features"])
    rows = [
        ((row[0],), micros(row[1]), micros(row[2]), number)
        for number, row in enumerate(features.rows)
    ]
    spine = [((row[0],), micros(row[1])) for row in labels.rows]
    ttl = None if given["ttl_seconds"] is None else round(given["ttl_seconds"] * 10**6) + 1
    case = lookup(given["id"], ["int"], rows, spine, ttl)
    expected = Table((("value", "int"),), tuple((value,) for value in given["expected"]))
    return Foreign(given["id"], case, features, labels, expected)


def lookup(
    name: str,
    kinds: Sequence[str],
    rows: Sequence[tuple[tuple[Any, ...], int, int, int]],
    spine: Sequence[tuple[tuple[Any, ...], int]],
    ttl: int | None,
) -> Case:
    """A lookup case: rows are (key, moment, rank of publication, number), spine rows (key, moment)."""
    # An unsigned 64-bit key is no contract type: it goes as a text.
    held = list(zip(*(key for key, *_ in [*rows, *spine]), strict=True)) or [(0,)]
    fits = [all(isinstance(v, int) and v < 2**63 for v in col if v is not None) for col in held]
    types = [
        "BIGINT" if kind == "int" and ok else "VARCHAR"
        for kind, ok in zip(kinds, fits, strict=False)
    ]
    types = types or ["BIGINT"]
    names = [f"key_{number}" for number in range(len(types))]
    keys = tuple(zip(names, types, strict=True))

    def keyed(key: tuple[Any, ...]) -> tuple[Any, ...]:
        found = key or (0,)
        pairs = zip(found, types, strict=True)
        return tuple(v if v is None or kind == "BIGINT" else str(v) for v, kind in pairs)

    return Case(
        id=name,
        kind="lookup",
        rules=(12,),
        note="",
        declaration={
            "keys": dict(keys),
            "time": "t",
            "ttl_us": ttl,
            "features": [{"name": FEATURE, "type": "BIGINT"}],
        },
        tables={
            "rows": Table(
                (
                    *keys,
                    ("feature_at", "TIMESTAMPTZ"),
                    (FEATURE, "BIGINT"),
                    ("published_at", "TIMESTAMPTZ"),
                    ("snapshot_id", "VARCHAR"),
                ),
                tuple(
                    (*keyed(key), text(at), number, text(published), f"s{number:06}")
                    for key, at, published, number in rows
                ),
            ),
            "spine": Table(
                (*keys, ("t", "TIMESTAMPTZ")), tuple((*keyed(key), text(at)) for key, at in spine)
            ),
        },
    )


def differences(foreign: Foreign, found: Sequence[int | None]) -> list[str]:
    """Where the right rows that were found are not those of the expected answer; at least one column is compared."""
    right, expected = foreign.right, foreign.expected
    compared = {
        place: origin
        for place, name in enumerate(expected.names)
        if (origin := right_column(name, foreign)) is not None
    }
    assert compared, f"{foreign.id}: no column of the right table is expected"
    assert len(found) == len(expected.rows)
    wrong = []
    for number, (row, wanted) in enumerate(zip(found, expected.rows, strict=True)):
        for place, origin in compared.items():
            value = None if row is None else right.rows[row][origin]
            if value != wanted[place]:
                wrong.append(f"row {number}: {expected.names[place]} {value} != {wanted[place]}")
    return wrong


def right_column(name: str, foreign: Foreign) -> int | None:
    """The place of the right table's column that an expected column shows; None where it is the left table's."""
    names = [name if name not in foreign.merged else "" for name in foreign.right.names]
    for suffix in ("_y", "_right"):
        if name.endswith(suffix) and name.removesuffix(suffix) in names:
            return names.index(name.removesuffix(suffix))
    is_left = name in foreign.left.names and foreign.left is not foreign.right
    return names.index(name) if name in names and not is_left else None


def only(of: Table, numbers: Sequence[int]) -> Table:
    return Table(of.columns, tuple(of.rows[number] for number in numbers))


def keys_of(kwargs: Mapping[str, Any], side: str) -> list[str]:
    found = kwargs.get("by") or kwargs.get(f"{side}_by") or kwargs.get(f"by_{side}") or []
    return [found] if isinstance(found, str) else list(found)


def on_of(kwargs: Mapping[str, Any], side: str, of: Table) -> list[Any]:
    """The values of the column that is joined on: named, the index, or an array of moments as pandas prints it."""
    name = kwargs.get("on") or kwargs.get(f"{side}_on")
    name = name[0] if isinstance(name, list) else name
    if name is None:
        name = next(column for column in INDEX_COLUMNS if column in of.names)
    if name.startswith("DatetimeIndex"):
        found = re.findall(r"'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)'", name)
        return [moment.replace(" ", "T") for moment in found][: len(of.rows)]
    place = of.names.index(name)
    return [row[place] for row in of.rows]


def picked(of: Table, names: Sequence[str]) -> list[tuple[Any, ...]]:
    places = [of.names.index(name) for name in names]
    return [tuple(row[place] for place in places) for row in of.rows]


def as_microseconds(values: Sequence[Any], tolerance: float | None) -> dict[Any, int]:
    """Value -> microseconds since the epoch: itself where that is what it is, else its rank in steps of two."""
    present = {value for value in values if value is not None}
    if all(isinstance(value, int) for value in present) and max(map(abs, present)) < 10**17:
        return {value: value for value in present}
    if all(isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value) for value in present):
        return {value: micros(value) for value in present}
    assert tolerance is None, "ranks have no distance"
    return {value: 2 * rank for rank, value in enumerate(sorted(present))}


def micros(moment: str) -> int:
    parsed = datetime.fromisoformat(moment)
    aware = parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def text(at: int) -> str:
    return (EPOCH + timedelta(microseconds=at)).isoformat()


def renamed(foreign: Foreign, number: int) -> Foreign:
    """Another project's tests are parametrised under one name."""
    return replace(foreign, id=f"{foreign.id}#{number}")
