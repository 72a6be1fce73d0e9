"""The kernel as a whole: a spine's keys and times in, features as the declaration types them out, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import numpy as np

from featmill.errors import KernelRefused
from featmill.training.kernels.aggregates import AGGREGATES, Task
from featmill.training.kernels.encoding import decode, restored
from featmill.training.kernels.event_arrays import types_of
from featmill.training.kernels.windows import Chunk, Edges, chunk_of, edges_of
from featmill.training.templates import render
from featmill.warehouse.columns import quote

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from numpy.typing import NDArray

    from featmill.training.kernels.event_arrays import EventArrays

    Numbers = NDArray[np.int64]

#: Moments evaluated at a time: few enough that what is computed of them stays small, enough to repay sorting them.
CHUNK_ROWS = 262_144

_MOMENT = "_featmill_moment"
_SEEN = "_featmill_seen"


@dataclass(frozen=True, slots=True)
class Planned:
    """A feature with its window, the types of its states, and the SQL that makes its value of them.

    `value` has `{name}` for each state, or `{value}` where the kernel gives the value itself.
    """

    feature: Mapping[str, Any]
    edges: Edges
    types: Mapping[str, str]
    value: str


@dataclass(frozen=True, slots=True)
class Asked:
    """The spine: each row's segment (-1 where its key has no event), its moment, and where calendars begin.

    `known` marks the rows whose entity is known without an event; None where nothing but events tells.
    """

    segments: Numbers
    moments: Numbers
    calendars: Mapping[str, Numbers]
    known: NDArray[np.bool_] | None = None

    @classmethod
    def nothing(cls, planned: Sequence[Planned]) -> Asked:
        """No row at all."""
        empty = np.empty(0, np.int64)
        starts = {p.edges.calendar: empty for p in planned if p.edges.calendar is not None}
        return cls(empty, empty, starts)


def plan_features(connection: duckdb.DuckDBPyConnection, view: Mapping[str, Any]) -> list[Planned]:
    """What there is to compute for each feature of a view.

    Raises:
        KernelRefused: an aggregate is none of the kernel's.
        ContractError: a declaration is wrong.
    """
    order_by = f"({view['event_at']}, {view['ingested_at']}, {view['event_id']})"
    plans = [
        cast("dict[str, Any]", render("_aggregate_plan", feature, order_by, _MOMENT))
        for feature in view["features"]
    ]
    states = [state["of"] for plan in plans for state in plan["states"]]
    types = iter(types_of(connection, view["events"], states))
    return [
        _planned(view, feature, plan, {state["name"]: next(types) for state in plan["states"]})
        for feature, plan in zip(view["features"], plans, strict=True)
    ]


def _planned(
    view: Mapping[str, Any],
    feature: Mapping[str, Any],
    plan: Mapping[str, Any],
    types: Mapping[str, str],
) -> Planned:
    if feature["aggregate"] not in AGGREGATES:
        raise KernelRefused(f"{feature['name']}: the kernel has no {feature['aggregate']}")
    is_value = feature["aggregate"] in ("count_distinct", "first", "last", "last_n", "top")
    value = "{value}" if is_value else str(plan["finalise"])
    return Planned(feature, edges_of(feature, view, _MOMENT), types, value)


def read_spine_moments(
    connection: duckdb.DuckDBPyConnection,
    spine: tuple[str, str],
    events: EventArrays,
    view: Mapping[str, Any],
    planned: Sequence[Planned],
) -> Asked:
    """The rows of a spine (its SQL and its time column) as segments and moments, in its order."""
    sql, time = spine
    keys = events.keys.column_names
    calendars = list(dict.fromkeys(p.edges.calendar for p in planned if p.edges.calendar))
    starts = "".join(f", epoch_us({text}) AS c{number}" for number, text in enumerate(calendars))
    known = f"_featmill_{uuid4().hex}"
    table = events.keys.append_column(_SEEN, [np.arange(events.keys.num_rows)])
    on = " AND ".join(f"given.{quote(key)} = known.{quote(key)}" for key in keys)
    is_known, joined = _known_sql(view)
    asked = (
        f"SELECT _featmill_row - 1 AS r, coalesce(known.{_SEEN}, -1) AS s, epoch_us({_MOMENT}) AS t{starts}{is_known} "
        "FROM ("
        f"SELECT *, row_number() OVER () AS _featmill_row, make_timestamp(epoch_us({quote(time)})) AS {_MOMENT} "
        f"FROM ({sql})) AS given LEFT JOIN {known} AS known ON {on}{joined}"
    )
    connection.register(known, table)
    try:
        read = connection.sql(asked).to_arrow_table()
    finally:
        connection.unregister(known)
    rows = read.column("r").to_numpy()
    placed = [_placed(read.column(n), rows) for n in range(1, 3 + len(calendars))]
    # A moment without an integer form (an infinite one) is at no time: nothing is known before it.
    timeless = read.column("t").null_count
    if timeless:
        placed[0][_placed(read.column("t").is_null(), rows).astype(bool)] = -1
    entities = _placed(read.column("k"), rows).astype(bool) if is_known else None
    return Asked(placed[0], placed[1], dict(zip(calendars, placed[2:], strict=True)), entities)


def _known_sql(view: Mapping[str, Any]) -> tuple[str, str]:
    """Whether a row's entity is known without an event: a column more and the join it needs; empty texts for none."""
    if not view.get("entities"):
        return "", ""
    keys = [quote(key) for key in view["keys"]]
    on = " AND ".join(f"given.{key} = entity.{key}" for key in keys)
    first = (
        f"SELECT {', '.join(keys)}, min(known_at) AS known_at FROM {view['entities']} GROUP BY ALL"
    )
    column = f", coalesce(entity.known_at < {_MOMENT}, false)::TINYINT AS k"
    return column, f" LEFT JOIN ({first}) AS entity ON {on}"


def _placed(column: pa.ChunkedArray, rows: Numbers) -> Numbers:
    """A column's values in the order of the rows; the join gives them in any."""
    values = column.fill_null(0).to_numpy() if column.null_count else column.to_numpy()
    found = np.empty(len(rows), np.int64)
    found[rows] = values
    return found


def evaluate(
    events: EventArrays, asked: Asked, view: Mapping[str, Any], planned: Sequence[Planned]
) -> Iterator[pa.Table]:
    """The features at each moment, a table per chunk, in the order asked; then `_featmill_seen` (rule 20).

    Raises:
        KernelRefused: a sum may exceed 64 bits.
    """
    import duckdb

    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for begin in range(0, max(len(asked.moments), 1), CHUNK_ROWS):
            part = slice(begin, begin + CHUNK_ROWS)
            calendars = {text: starts[part] for text, starts in asked.calendars.items()}
            chunk = chunk_of(events, asked.segments[part], asked.moments[part], calendars)
            known = None if asked.known is None else asked.known[part]
            yield _finalised(connection, chunk, known, (view, planned))


def _finalised(
    connection: duckdb.DuckDBPyConnection,
    chunk: Chunk,
    known: NDArray[np.bool_] | None,
    of: tuple[Mapping[str, Any], Sequence[Planned]],
) -> pa.Table:
    """SQL makes the values of the states, as it does everywhere: there is one expression for each aggregate."""
    import pyarrow as pa

    view, planned = of
    seen = chunk.given(chunk.ends(0) > chunk.begin)
    if known is not None:
        seen |= known
    moments = chunk.given(chunk.moments)
    always = np.ones(len(moments), np.bool_)
    columns: dict[str, Any] = {
        _SEEN: pa.array(seen),
        _MOMENT: decode(moments, always, "TIMESTAMP"),
    }
    selected = []
    for number, one in enumerate(planned):
        task = Task(one.feature, chunk, one.edges, one.types)
        parts = AGGREGATES[str(one.feature["aggregate"])](task)
        named = {name: f"f{number}_{name}" for name in parts}
        columns |= {named[name]: part.values for name, part in parts.items()}
        typed = {name: restored(named[name], part.sql_type) for name, part in parts.items()}
        selected.append(_value_sql(one.feature, one.value.format(**typed), view))
    connection.register("states", pa.table(columns))
    try:
        status = (
            f"CASE WHEN {_SEEN} THEN 'ok' ELSE 'missing' END AS {quote(view['name'] + '__status')}"
        )
        return connection.sql(
            f"SELECT {', '.join([*selected, status])} FROM states"
        ).to_arrow_table()
    finally:
        connection.unregister("states")


def _value_sql(feature: Mapping[str, Any], value: str, view: Mapping[str, Any]) -> str:
    """The same default and type as everywhere; an entity that was never seen has its default, or NULL."""
    finished = render("_finished_column", feature, value)
    unseen = f"CAST({render('_literal', feature.get('default'))} AS {feature['data_type']})"
    name = quote(f"{view['name']}__{feature['name']}")
    return f"CASE WHEN {_SEEN} THEN {finished} ELSE {unseen} END AS {name}"
