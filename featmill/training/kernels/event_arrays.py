"""Events as arrays: sorted by key and by rule 8's total order, one segment per key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featmill.errors import KernelRefused
from featmill.training.kernels.encoding import Column, Encoder, Growing, readable
from featmill.training.kernels.sorting import (
    KeyColumn,
    Sorted,
    break_ties,
    key_codes,
    order_by_key_and_time,
)
from featmill.training.templates import render
from featmill.warehouse.columns import quote

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from numpy.typing import NDArray

_BATCH_ROWS = 131_072
_EVENT_AT = ("event_at",)
_TOTAL_ORDER = ("event_at", "ingested_at", "event_id")


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

    def segments(self) -> NDArray[np.int32]:
        """Each event's segment."""
        return self.once(
            "segments",
            lambda: np.repeat(
                np.arange(len(self.offsets) - 1, dtype=np.int32), np.diff(self.offsets)
            ),
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
    read = _read(connection, view, wanted, _EVENT_AT)
    rows = order_by_key_and_time(read.codes, read.order[0].codes)
    if rows.groups is not None:
        # Few events are tied, and ids are the widest column there is: only then is all read again, with them.
        read = _read(connection, view, wanted, _TOTAL_ORDER)
        rows = order_by_key_and_time(read.codes, read.order[0].codes)
        for column in read.order[1:]:
            rows = _break_ties(rows, column)
    return _arranged(read, rows, wanted, view["keys"])


@dataclass(slots=True)
class _Read:
    """Events as they come: keys and their codes, the columns of rule 8's order, and one for each expression."""

    keys: list[KeyColumn]
    codes: NDArray[np.int64]
    order: list[Column]
    values: list[Column]
    conditions: list[NDArray[np.bool_]]


def _read(
    connection: duckdb.DuckDBPyConnection,
    view: Mapping[str, Any],
    wanted: Expressions,
    order: Sequence[str],
) -> _Read:
    import duckdb

    keys, events = [quote(key) for key in view["keys"]], str(view["events"])
    texts = [*(quote(view[name]) for name in order), *wanted.values]
    types = types_of(connection, events, texts)
    conditions = [f"coalesce(CAST(({text}) AS BOOLEAN), false)" for text in wanted.conditions]
    selected = [*keys, *map(readable, texts, types), *conditions]
    listed = ", ".join(f"{text} AS c{number}" for number, text in enumerate(selected))
    present = " AND ".join(f"{text} IS NOT NULL" for text in [*keys, f"epoch_us({texts[0]})"])
    try:
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {events}").fetchall()
        # A cursor of the connection would not see its temporary tables.
        relation = connection.sql(f"SELECT {listed} FROM {events} WHERE {present}")
        reader = relation.to_arrow_reader(_BATCH_ROWS)
        read_keys = [KeyColumn(reader.schema.field(n).type, rows) for n in range(len(keys))]
        columns = [Encoder(kind, rows) for kind in types]
        passes = [Growing(np.bool_, rows) for _ in conditions]
        takers: list[Callable[[pa.Array], None]] = [key.add for key in read_keys]
        takers += [column.add for column in columns]
        takers += [one.add_arrow for one in passes]
        for batch in reader:
            for taker, chunk in zip(takers, batch.columns, strict=True):
                taker(chunk)
    except duckdb.Error as error:
        raise KernelRefused(f"the events have no integer form: {error}") from error
    encoded = [column.column() for column in columns]
    return _Read(
        keys=read_keys,
        codes=key_codes([key.values() for key in read_keys]),
        order=encoded[: len(order)],
        values=encoded[len(order) :],
        conditions=[one.array() for one in passes],
    )


def _break_ties(rows: Sorted, by: Column) -> Sorted:
    """Put tied rows into the order of a column as SQL has it: NULLs last, also after the greatest integer."""
    if by.nulls is not None:
        rows = break_ties(rows, by.nulls.astype(np.int64))
    return break_ties(rows, by.codes)


def _arranged(read: _Read, rows: Sorted, wanted: Expressions, names: Sequence[str]) -> EventArrays:
    import pyarrow as pa

    order = rows.order
    first = order[rows.starts]
    columns = [
        replace(c, codes=c.codes[order], nulls=None if c.nulls is None else c.nulls[order])
        for c in read.values
    ]
    return EventArrays(
        pa.table([key.of(first) for key in read.keys], names=list(names)),
        np.append(rows.starts, len(order)).astype(np.int64),
        rows.times,
        dict(zip(wanted.values, columns, strict=True)),
        dict(zip(wanted.conditions, (c[order] for c in read.conditions), strict=True)),
    )
