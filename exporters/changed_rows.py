"""What differs between the rows that are online and those that are to be: all that in-place publishing has to write.

What is online is not read: the live record says which snapshot it is and what decided its rows, and these are worked
out again as they were then. Where that does not give what the record says, nothing is known and every row is to be
written. Both sides are joined by key; a float is compared by its bits, so that -0.0 is not 0.0, and NULL equals NULL.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from exporters.rows import VisibleRows, translated_reads
from featmill import clock
from featmill.contract.types import OnlineKind
from featmill.errors import ContractError, LakeError
from featmill.training.served import history
from featmill.warehouse.columns import quote

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from featmill.contract.catalog import Feature, FeatureTable
    from featmill.online.live import LiveBase
    from featmill.warehouse.model import Snapshot
    from featmill.warehouse.registry import Registry

    #: Given snapshot ids, the key columns of entities in any of them and not among the rows; None where the lake does
    #: not hold all of their entities any more.
    VanishedKeys = Callable[[tuple[str, ...]], pa.RecordBatchReader | None]
    #: Given what is online, what differs from it.
    Changes = Callable[[LiveBase], "Difference | NoDifference"]

_TABLE = "_featmill_difference"
_FRESH, _HELD, _WHOLE = "_featmill_fresh", "_featmill_held", "_featmill_whole"

#: How long a run, and the clocks of two machines, may be behind: a key that ends within it counts as dropped.
_MARGIN = timedelta(days=1)

#: Kinds whose columns can hold -0.0.
_REALS = (OnlineKind.FLOAT, OnlineKind.DOUBLE)


@dataclass(frozen=True, slots=True)
class NoDifference:
    """Why what is online cannot be compared: every row is to be written."""

    reason: str


@dataclass(frozen=True, slots=True)
class RowSource:
    """Where an export's rows come from; asked only for what the run needs.

    `read_all` gives the job's rows in key order, the same order in every run. `vanished` is asked, with the ids of the
    snapshots whose rows may be online, for the keys of their entities that the job's rows lack; where it cannot tell,
    the store's own keys are looked at. None leaves such entities online. `changes` compares with what is online; None
    writes every row.
    """

    read_all: Callable[[], pa.RecordBatchReader]
    vanished: VanishedKeys | None = None
    changes: Changes | None = None


class Difference:
    """Rows to write and entities to take away, as long as the connection of the visible rows is open.

    `rows` differ in `values` features, an entity that was not there counting with all of its; one whose event time
    alone differs counts with none. `vanished_rows` are there and are to go. A row whose event time, in microseconds, is
    at or before `gone_before` may be there or not: the store may have dropped it.
    """

    def __init__(
        self,
        visible: VisibleRows,
        table: FeatureTable,
        base: VisibleRows,
        gone_before: int | None = None,
    ) -> None:
        self._visible = visible
        self._keys = ", ".join(quote(key) for key in table.key_names)
        self._flags = [quote(changed_column(feature.name)) for feature in table.features]
        columns = [*table.key_names, table.event_time, *(f.name for f in table.features)]
        self._columns = ", ".join([*map(quote, columns), *self._flags])
        values = " + ".join(f"count(*) FILTER ({_FRESH} AND {flag})" for flag in self._flags) or "0"
        with translated_reads(table):
            visible.connection.execute(
                f"CREATE OR REPLACE TABLE {_TABLE} AS "
                f"{_joined_sql(table, visible, base, gone_before)}"
            )
            found = visible.connection.execute(
                f"SELECT count(*) FILTER ({_FRESH}), count(*) FILTER (NOT {_FRESH}), {values} FROM {_TABLE}"
            ).fetchall()
        self.rows, self.vanished_rows, self.values = (int(number) for number in found[0])

    def reader(self) -> pa.RecordBatchReader:
        """The rows to write in key order: keys, event time, features, and for each feature whether it changed."""
        return self._visible.query(
            f"SELECT {self._columns} FROM {_TABLE} WHERE {_FRESH} ORDER BY {self._keys}"
        )

    def vanished(self) -> pa.RecordBatchReader:
        """The keys of the entities to take away, in order."""
        return self._visible.query(
            f"SELECT {self._keys} FROM {_TABLE} WHERE NOT {_FRESH} ORDER BY {self._keys}"
        )


class ChangedRows:
    """Compares what a live record says is online with the rows that are to be there."""

    def __init__(self, visible: VisibleRows, table: FeatureTable, registry: Registry) -> None:
        self._visible = visible
        self._table = table
        self._registry = registry

    def __call__(self, base: LiveBase) -> Difference | NoDifference:
        """The difference from `base`, the same whenever it is asked for; or why there is none."""
        try:
            held = self._rows_of(base)
            if isinstance(held, NoDifference):
                return held
            return Difference(self._visible, self._table, held, _gone_before(base))
        except (ContractError, LakeError) as error:
            # Where it is the new rows that cannot be read, writing all of them will say so.
            return NoDifference(f"what is online cannot be read any more: {error.message}")

    def _rows_of(self, base: LiveBase) -> VisibleRows | NoDifference:
        """The rows as they went online; what was declared or published since may have changed how they read."""
        found = self._registry.lake.snapshots(self._table.name)
        known = {snapshot.snapshot_id: snapshot for snapshot in found}
        if base.snapshot_id not in known:
            return NoDifference(f"snapshot {base.snapshot_id}, which is online, is not in the lake")
        snapshot = known[base.snapshot_id]
        held = self._as_it_was(snapshot, base)
        if held is None:
            return NoDifference("what is online was declared otherwise, or its history has changed")
        return held

    def _as_it_was(self, snapshot: Snapshot, base: LiveBase) -> VisibleRows | None:
        """The snapshot's visible rows if they are what went online; with the releases of now, or of then."""
        tried: list[list[Snapshot]] = []
        for at in (None, base.read_at):
            released = self._registry.released_snapshots(self._table.name, at=at)
            before = history(self._table, snapshot, released)
            if before in tried:
                continue
            tried.append(before)
            held = VisibleRows(self._visible.connection, self._table, snapshot, before)
            if (held.content, held.count) == (base.content, base.rows):
                return held
        return None


def changed_column(feature: str) -> str:
    """The name of the column that says whether a feature changed."""
    return f"{feature} changed?"


def _gone_before(base: LiveBase) -> int | None:
    """The event time of rows whose keys the store has dropped, or will while they are written."""
    if base.key_life_us is None:
        return None
    return int((clock.now() + _MARGIN).timestamp() * 1_000_000) - base.key_life_us


def _joined_sql(
    table: FeatureTable, visible: VisibleRows, base: VisibleRows, gone_before: int | None
) -> str:
    """The rows of either side that the other lacks or that differ, in key order.

    Which these are must not depend on the clock, or a run could not be resumed; what of them is written may.
    """
    keys = ", ".join(quote(key) for key in table.key_names)
    time = quote(table.event_time)
    whole = "true" if gone_before is None else f"epoch_us({time}) > {gone_before}"
    differs = [_differs_sql(feature) for feature in table.features]
    flags = [
        f"NOT coalesce(held.{_WHOLE}, false) OR {one} AS {quote(changed_column(feature.name))}"
        for feature, one in zip(table.features, differs, strict=True)
    ]
    features = [f"fresh.{quote(feature.name)}" for feature in table.features]
    anything = [f"fresh.{time} IS DISTINCT FROM held.{time}", *differs]
    return (
        f"SELECT {keys}, {', '.join([f'fresh.{time}', *features, *flags])}, "
        f"fresh.{_FRESH} IS NOT NULL AS {_FRESH} "
        f"FROM (SELECT *, true AS {_FRESH} FROM ({visible.sql()})) AS fresh "
        f"FULL JOIN (SELECT *, true AS {_HELD}, {whole} AS {_WHOLE} FROM ({base.sql()})) AS held USING ({keys}) "
        f"WHERE fresh.{_FRESH} IS NULL OR held.{_HELD} IS NULL OR {' OR '.join(anything)} "
        f"ORDER BY {keys}"
    )


def _differs_sql(feature: Feature) -> str:
    """Whether a feature's bytes online differ: to DuckDB NaN equals NaN, as it should, but -0.0 equals 0.0."""
    new, old = (f"{side}.{quote(feature.name)}" for side in ("fresh", "held"))
    differs = f"{new} IS DISTINCT FROM {old}"
    if feature.type.kind not in _REALS or feature.type.sql.startswith("DECIMAL"):
        return f"({differs})"
    if feature.type.is_list:
        signs = [f"list_transform({side}, lambda one: signbit(one))" for side in (new, old)]
        return f"({differs} OR {signs[0]} IS DISTINCT FROM {signs[1]})"
    # Few values are zero, and only they can be equal with another sign.
    return f"({differs} OR ({new} = 0 AND signbit({new}) <> signbit({old})))"


def row_source(visible: VisibleRows, table: FeatureTable, registry: Registry) -> RowSource:
    """The visible rows for an export that writes only what differs, as long as their connection is open."""

    def vanished(ids: tuple[str, ...]) -> pa.RecordBatchReader | None:
        known = {s.snapshot_id: s for s in registry.lake.snapshots(table.name)}
        lost = [one for one in ids if one not in known or one in registry.lake.erased(table.name)]
        return None if lost else visible.vanished([known[one] for one in ids])

    return RowSource(visible.reader, vanished, ChangedRows(visible, table, registry))
