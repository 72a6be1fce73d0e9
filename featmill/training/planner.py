"""Which engine joins each feature table to a spine, and why.

Every engine gives the same answer to the bit (rules 11 to 16); only the cost differs. A plan reads like this:

    plan = planner.plan(connection, planner.Join(spine.sql, MOMENT, views, status=True, hidden=(MOMENT,)))
    for batch in plan.reader(65_536): ...
    for choice in plan.explain(): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmill.errors import UsageError
from featmill.training.engines.choice import ENGINES, Choice, Chosen, SpineFacts, choose
from featmill.training.engines.indexed import KEY_SQL
from featmill.training.engines.layers import (
    Asked,
    Layer,
    equi_layer,
    interval_layer,
    layered_sql,
)
from featmill.warehouse.columns import quote

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["Choice", "Join", "Plan", "plan"]

#: Labels that are looked up together in an index: sorted, they walk it in one pass.
_LABELS = 1 << 20
_TIME = "_featmill_lookup_time"
_KEY = "_featmill_lookup_{}_{}"


@dataclass(frozen=True, slots=True)
class Join:
    """What to join: a spine's SQL, its column with each row's moment, and the views.

    `views` are as the macro `point_in_time_sql` takes them. A view may also have `snapshots`, the released snapshots
    that its relation, `(<lake.relation_sql of them>)`, reads: then each of them is unique per key and time, and their
    index may be used; and `valid_to`, the column of its relation where a row stops being the newest of its key (NULL:
    it still is), where that is stored. `status` adds `view__status` and the time that was found; `hidden` columns of
    the spine are not in the answer.
    """

    spine: str
    time: str
    views: Sequence[dict[str, Any]]
    status: bool = False
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A join that is ready to run on the connection it was planned on.

    `sql` gives the spine and what SQL engines find; the indexed views' columns are added to its batches. `columns` are
    the answer's, in order.
    """

    connection: duckdb.DuckDBPyConnection
    join: Join
    sql: str
    columns: tuple[str, ...]
    chosen: tuple[Chosen, ...]

    def reader(self, batch_rows: int) -> pa.RecordBatchReader:
        """The joined rows in the spine's order, at most `batch_rows` a batch, as they are computed.

        Raises:
            duckdb.Error: the spine or a view cannot be read.
        """
        import pyarrow as pa

        read = self.connection.sql(self.sql).to_arrow_reader(batch_rows)
        (empty,) = self._joined([_empty(read.schema)])
        return pa.RecordBatchReader.from_batches(empty.schema, self._batches(read))

    def explain(self) -> tuple[Choice, ...]:
        """What was chosen, view by view."""
        return tuple(one.choice for one in self.chosen)

    def _batches(self, read: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        is_indexed = any(one.indexed is not None for one in self.chosen)
        for batches in _gathered(read, _LABELS if is_indexed else 1):
            yield from self._joined(batches)

    def _joined(self, batches: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Batches of the SQL with the indexed views' columns, in the answer's order; looked up all at once."""
        import pyarrow as pa

        found: dict[str, pa.Array] = {}
        for one in self.chosen:
            if one.indexed is not None and one.index is not None:
                keys = [
                    _whole(batches, _KEY.format(key.kind, key.name))
                    for key in one.index.header.keys
                ]
                found |= one.indexed.columns(keys, _whole(batches, _TIME), status=self.join.status)
        start = 0
        for batch in batches:
            columns = [
                found[name].slice(start, batch.num_rows) if name in found else batch.column(name)
                for name in self.columns
            ]
            yield pa.RecordBatch.from_arrays(columns, list(self.columns))
            start += batch.num_rows


def plan(connection: duckdb.DuckDBPyConnection, join: Join, *, engine: str = "auto") -> Plan:
    """Choose an engine for each view: the cheapest that its statistics allow, or the one that is asked for.

    Raises:
        UsageError: there is no such engine, or it cannot join one of the views.
        duckdb.Error: the spine or a view cannot be read.
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}", hint=f"one of: {', '.join(ENGINES)}")
    spine = SpineFacts(connection, join)
    chosen = tuple(choose(view, spine, engine) for view in join.views)
    asked = Asked(_lookup_sql(join, chosen), join.time, join.status)
    asof = [one.view for one in chosen if one.choice.engine == "asof"]
    layers = [layer for i, one in enumerate(chosen) if (layer := _layer(one, join.time, i))]
    sql = layered_sql(asked, asof, layers) if asof or layers else asked.spine
    return Plan(connection, join, sql, tuple(_columns(connection, join)), chosen)


def _layer(one: Chosen, time: str, number: int) -> Layer | None:
    if one.choice.engine == "equi":
        return equi_layer(one.view, one.moments, time, number)
    if one.choice.engine == "interval":
        return interval_layer(one.view, one.view.get("valid_to"), time, number)
    return None


def _lookup_sql(join: Join, chosen: Sequence[Chosen]) -> str:
    """The spine with its keys and moment as the indexes hold them, each once."""
    keys = {
        (key.kind, key.name): None
        for one in chosen
        if one.index is not None
        for key in one.index.header.keys
    }
    if not keys:
        return join.spine
    read = [
        f"{KEY_SQL[kind].format(quote(name))} AS {quote(_KEY.format(kind, name))}"
        for kind, name in keys
    ]
    return f"SELECT *, {quote(join.time)}::TIMESTAMPTZ AS {_TIME}, {', '.join(read)} FROM ({join.spine})"


def _columns(connection: duckdb.DuckDBPyConnection, join: Join) -> Iterator[str]:
    """The answer's columns: the spine's that are not hidden, then each view's."""
    described = connection.execute(f"DESCRIBE SELECT * FROM ({join.spine})").fetchall()
    hidden = {name.lower() for name in join.hidden}
    yield from (str(row[0]) for row in described if str(row[0]).lower() not in hidden)
    for view in join.views:
        yield from (f"{view['name']}__{feature['name']}" for feature in view["features"])
        if join.status:
            yield f"{view['name']}__status"
            yield f"{view['name']}__{view['event_time']}"


def _gathered(read: pa.RecordBatchReader, rows: int) -> Iterator[list[pa.RecordBatch]]:
    """The same batches, so many together that they have at least so many rows, but for the last."""
    held: list[pa.RecordBatch] = []
    for batch in read:
        held.append(batch)
        if sum(one.num_rows for one in held) >= rows:
            yield held
            held = []
    if held:
        yield held


def _whole(batches: Sequence[pa.RecordBatch], name: str) -> pa.Array:
    """One column of all batches."""
    import pyarrow as pa

    return pa.concat_arrays([batch.column(name) for batch in batches])


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([], schema=schema)
