"""Events as arrays: sorted by key and by rule 8's total order, one segment per key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from featmill.errors import KernelRefused
from featmill.training.kernels.encoding import Column, encode, readable
from featmill.training.templates import render
from featmill.warehouse.columns import quote

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from numpy.typing import NDArray

_BATCH_ROWS = 131_072


@dataclass(frozen=True, slots=True)
class Expressions:
    """The distinct SQL expressions that features read of an event, in the order they are first met."""

    values: tuple[str, ...]
    conditions: tuple[str, ...]


@dataclass(slots=True)
class EventArrays:
    """Sorted events. `keys` has a row per segment, which is `offsets[i]` to `offsets[i + 1]`; `times` are microseconds.

    `values` and `conditions` are by SQL expression. `derived` keeps what is computed of them (prefix sums and the like)
    by name, so that it is computed once, or read from an index.
    """

    keys: pa.Table
    offsets: NDArray[np.int64]
    times: NDArray[np.int64]
    values: Mapping[str, Column]
    conditions: Mapping[str, NDArray[np.bool_]]
    derived: dict[str, NDArray[Any]] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """A derived array, made on first use."""
        if name not in self.derived:
            self.derived[name] = make()
        return self.derived[name]

    def tables(self, name: str, make: Callable[[], list[NDArray[Any]]]) -> list[NDArray[Any]]:
        """Several derived arrays that belong together, made on first use."""
        found: list[NDArray[Any]] = []
        while (numbered := f"{name}|{len(found)}") in self.derived:
            found.append(self.derived[numbered])
        if not found:
            found = make()
            self.derived |= {f"{name}|{number}": made for number, made in enumerate(found)}
        return found

    def segments(self) -> NDArray[np.int64]:
        """Each event's segment."""
        return self.once(
            "segments", lambda: np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        )


def value_of(feature: Mapping[str, Any], key: str = "value") -> str | None:
    """The SQL a feature aggregates, rounded to its scale; None where it counts events."""
    found = render("_aggregate_value", feature, key)
    return None if found is None else str(found)


def expressions_of(features: Sequence[Mapping[str, Any]]) -> Expressions:
    """What these features read of an event."""
    values = [value_of(feature, key) for feature in features for key in ("value", "of")]
    conditions = [feature.get("where") for feature in features]
    return Expressions(
        tuple(dict.fromkeys(text for text in values if text is not None)),
        tuple(dict.fromkeys(str(text) for text in conditions if text is not None)),
    )


def types_of(
    connection: duckdb.DuckDBPyConnection, events: str, expressions: Sequence[str]
) -> list[str]:
    """DuckDB's types of expressions over the events."""
    if not expressions:
        return []
    listed = ", ".join(f"{text} AS c{number}" for number, text in enumerate(expressions))
    described = connection.execute(f"DESCRIBE SELECT {listed} FROM {events}").fetchall()
    return [str(row[1]) for row in described]


def read_events(
    connection: duckdb.DuckDBPyConnection, view: Mapping[str, Any], wanted: Expressions
) -> EventArrays:
    """Sort the events of a view and hold them as arrays.

    Args:
        connection: where the events can be read.
        view: as the macro `windows_at_sql` takes it.
        wanted: the expressions to hold.

    Raises:
        KernelRefused: a value has no 64-bit integer form.
    """
    import duckdb

    types = types_of(connection, str(view["events"]), wanted.values)
    sql = _sorted_sql(view, wanted, types)
    try:
        # A cursor of the connection would not see its temporary tables.
        batches = list(connection.sql(sql).to_arrow_reader(_BATCH_ROWS))
    except duckdb.Error as error:
        raise KernelRefused(f"the events have no integer form: {error}") from error
    columns = _columns(batches, sql_columns(view, wanted))
    keys, offsets = _segments(columns[: len(view["keys"])], view["keys"])
    first = len(view["keys"]) + 1
    values = {
        text: encode(columns[first + number], types[number])
        for number, text in enumerate(wanted.values)
    }
    first += len(wanted.values)
    conditions = {
        text: _joined(columns[first + number], np.dtype(np.bool_))
        for number, text in enumerate(wanted.conditions)
    }
    times = _joined(columns[len(view["keys"])], np.dtype(np.int64))
    return EventArrays(keys, offsets, times, values, conditions)


def sql_columns(view: Mapping[str, Any], wanted: Expressions) -> int:
    """How many columns the sorted events have: the keys, the time, the values, the conditions."""
    return len(view["keys"]) + 1 + len(wanted.values) + len(wanted.conditions)


def _sorted_sql(view: Mapping[str, Any], wanted: Expressions, types: Sequence[str]) -> str:
    keys = [quote(key) for key in view["keys"]]
    order = [*keys, view["event_at"], view["ingested_at"], view["event_id"]]
    selected = [*keys, f"epoch_us({view['event_at']})"]
    selected += [readable(text, kind) for text, kind in zip(wanted.values, types, strict=True)]
    selected += [f"coalesce(CAST(({text}) AS BOOLEAN), false)" for text in wanted.conditions]
    listed = ", ".join(f"{text} AS c{number}" for number, text in enumerate(selected))
    present = " AND ".join(
        f"{text} IS NOT NULL" for text in [*keys, f"epoch_us({view['event_at']})"]
    )
    return f"SELECT {listed} FROM {view['events']} WHERE {present} ORDER BY {', '.join(order)}"


def _columns(batches: Sequence[pa.RecordBatch], count: int) -> list[list[pa.Array]]:
    return [[batch.column(number) for batch in batches] for number in range(count)]


def _joined(chunks: Sequence[pa.Array], dtype: np.dtype[Any]) -> NDArray[Any]:
    parts = [chunk.to_numpy(zero_copy_only=False) for chunk in chunks]
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.empty(0, dtype)


def _segments(
    columns: Sequence[Sequence[pa.Array]], names: Sequence[str]
) -> tuple[pa.Table, NDArray[np.int64]]:
    """The distinct keys in order, and where the events of each begin."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = sum(len(chunk) for chunk in columns[0])
    begins = np.zeros(rows, np.bool_)
    begins[:1] = True
    whole = [pa.chunked_array(chunks) if chunks else pa.chunked_array([[]]) for chunks in columns]
    for column in whole if rows else []:
        changes = pc.not_equal(column.slice(1), column.slice(0, rows - 1))
        begins[1:] |= cast("NDArray[np.bool_]", changes.to_numpy())
    starts = np.flatnonzero(begins).astype(np.int64)
    table = pa.table(whole, names=list(names)).take(pa.array(starts))
    return table, np.append(starts, rows).astype(np.int64)
