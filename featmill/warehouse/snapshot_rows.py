"""The rows of one published snapshot: the newest, one by its id, or the newest as the registry stood at a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from featmill.errors import LakeError, NoRelease, UsageError
from featmill.warehouse.columns import quote
from featmill.warehouse.lake import relation_sql

if TYPE_CHECKING:
    from featmill.warehouse.model import Snapshot
    from featmill.warehouse.registry import Registry


@dataclass(frozen=True, slots=True)
class SnapshotRows:
    """Rows of a snapshot in a fixed order; `matching` is how many there are, `rows` the first of them."""

    snapshot: Snapshot
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    matching: int


def choose_snapshot(
    registry: Registry, table: str, *, snapshot_id: str | None = None, at: datetime | None = None
) -> Snapshot:
    """The snapshot by its id, released or not; else the newest released one, now or as it was at a moment.

    Raises:
        NoRelease: nothing of the table was released by then.
        LakeError: there is no such snapshot.
        UsageError: both are asked for, or a moment without a zone.
    """
    if snapshot_id is not None:
        if at is not None:
            raise UsageError("a snapshot and a moment were asked for", hint="give one of them")
        return registry.lake.snapshot(table, snapshot_id)
    released = registry.released_snapshots(table, at=at)
    if not released:
        when = "" if at is None else f" at {at:%Y-%m-%d %H:%M:%S %Z}"
        raise NoRelease(
            f"{table} had not been released{when}", hint="featmill snapshots lists what there is"
        )
    return released[-1]


def read_rows(snapshot: Snapshot, keys: Mapping[str, str], limit: int) -> SnapshotRows:
    """The snapshot's rows whose columns read as these texts, in the order of all their columns (rule 22).

    Raises:
        UsageError: the table has no such column.
        LakeError: a published file cannot be read.
    """
    import duckdb

    relation = f"({relation_sql([snapshot])})"
    try:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
            columns = tuple(str(row[0]) for row in described)
            _require_columns(snapshot.table, keys, columns)
            where = " AND ".join(f"{quote(key)}::VARCHAR = ?" for key in keys) or "true"
            values = list(keys.values())
            counted = connection.execute(f"SELECT count(*) FROM {relation} WHERE {where}", values)
            matching = int(counted.fetchall()[0][0])
            found = connection.execute(
                f"SELECT * FROM {relation} WHERE {where} ORDER BY ALL LIMIT {limit}", values
            )
            return SnapshotRows(snapshot, columns, tuple(found.fetchall()), matching)
    except duckdb.Error as error:
        raise LakeError(
            f"{snapshot.table}: snapshot {snapshot.snapshot_id} cannot be read: {error}",
            hint="a file of the lake is missing or damaged: restore it",
        ) from error


def _require_columns(table: str, keys: Mapping[str, str], columns: tuple[str, ...]) -> None:
    unknown = [key for key in keys if key not in columns]
    if unknown:
        raise UsageError(
            f"{table} has no column {', '.join(unknown)}", hint=f"it has: {', '.join(columns)}"
        )
