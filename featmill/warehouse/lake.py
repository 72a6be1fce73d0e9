"""The lake: one Delta table per feature table and schema version, append only, one commit per snapshot.

Everything but dbt reads this. A snapshot's identity stands in the metadata of the commit that made it, so the lake
explains itself without us; the registry of releases says which snapshots readers may trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.errors import LakeError, SchemaChanged, SnapshotExpired
from featmill.warehouse import snapshot_log
from featmill.warehouse.change_log import expanded_sql
from featmill.warehouse.columns import literal
from featmill.warehouse.delta_files import empty_relation_sql
from featmill.warehouse.model import Snapshot
from featmill.warehouse.snapshot_log import METADATA_KEY, SnapshotLog, dump

if TYPE_CHECKING:
    import pyarrow as pa

#: The partition column and the publish metadata that every published table carries.
SNAPSHOT_COLUMN = snapshot_log.SNAPSHOT_COLUMN
PUBLISHED_AT_COLUMN = snapshot_log.PUBLISHED_AT_COLUMN

#: A published value is never rewritten (rule 9): logs and files stay until retention is asked for.
_KEEP = "interval 36500 days"


class Lake:
    """The published tables below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def location(self, table: str, version: str = "1", tenant: str = "default") -> Path:
        """The folder of a table's Delta table: `<root>/<tenant>/<table>/v<version>`."""
        return self.root / tenant / table / f"v{version}"

    def tables(self) -> list[str]:
        """The names of the tables that have at least one snapshot, sorted."""
        found = self.root.glob("*/*/v*/_delta_log")
        return sorted({path.parents[1].name for path in found})

    def snapshots(self, table: str) -> list[Snapshot]:
        """Every snapshot of a table, oldest commit first; of all its schema versions.

        Raises:
            LakeError: a commit that featmill did not make stands in the table's log.
        """
        found: list[Snapshot] = []
        for log in sorted(self.root.glob(f"*/{table}/v*/_delta_log")):
            found.extend(SnapshotLog.of(log.parent).snapshots.values())
        return sorted(found, key=lambda s: (s.published_at, s.snapshot_id))

    def snapshot(self, table: str, snapshot_id: str) -> Snapshot:
        """One snapshot by its id.

        Raises:
            SnapshotExpired: retention removed it.
            LakeError: there is none.
        """
        for snapshot in self.snapshots(table):
            if snapshot.snapshot_id == snapshot_id:
                return snapshot
        expired = self.expired(table)
        if snapshot_id in expired:
            raise SnapshotExpired(
                f"{table}: snapshot {snapshot_id} expired on {expired[snapshot_id]:%Y-%m-%d %H:%M:%S} UTC",
                hint="retention removed it; build its as_of again: the same sources give the same rows",
            )
        raise LakeError(
            f"{table} has no snapshot {snapshot_id!r}",
            hint="featmill snapshots lists what there is",
        )

    def expired(self, table: str) -> dict[str, datetime]:
        """The snapshots of a table that retention removed, by id: when."""
        logs = sorted(self.root.glob(f"*/{table}/v*/_delta_log"))
        return {k: at for log in logs for k, at in SnapshotLog.of(log.parent).expired.items()}

    def erased(self, table: str) -> dict[str, int]:
        """The snapshots of a table that erasure took rows from, by id: how many."""
        logs = sorted(self.root.glob(f"*/{table}/v*/_delta_log"))
        return {k: rows for log in logs for k, rows in SnapshotLog.of(log.parent).erased.items()}

    def require_schema(self, snapshot: Snapshot, schema: pa.Schema) -> None:
        """Refuse rows that would change what readers of the snapshot's table know of its columns.

        Raises:
            SchemaChanged: a live column changed its type or is gone.
        """
        _check_schema(SnapshotLog.of(Path(snapshot.location)), schema, snapshot.table)

    def append(self, rows: pa.RecordBatchReader, snapshot: Snapshot) -> Snapshot:
        """Write the rows as one commit with the snapshot's identity in its metadata; nothing on failure.

        Raises:
            SchemaChanged: a live column changed its type or is gone.
            LakeError: the lake could not be written; nothing was committed.
        """
        from deltalake import CommitProperties, write_deltalake
        from deltalake.exceptions import DeltaError

        location = Path(snapshot.location)
        log = SnapshotLog.of(location)
        _check_schema(log, rows.schema, snapshot.table)
        location.mkdir(parents=True, exist_ok=True)
        try:
            write_deltalake(
                log.delta_table() if log.is_table else str(location),
                rows,
                mode="append",
                schema_mode="merge",
                partition_by=[SNAPSHOT_COLUMN],
                name=snapshot.table,
                configuration={
                    "delta.logRetentionDuration": _KEEP,
                    "delta.deletedFileRetentionDuration": _KEEP,
                    "delta.appendOnly": "true",
                },
                commit_properties=CommitProperties(custom_metadata={METADATA_KEY: dump(snapshot)}),
            )
        except (DeltaError, OSError) as error:
            raise LakeError(
                f"{snapshot.table}: the snapshot could not be written to {location}: {error}",
                hint="nothing was published; free space or mend the folder's permissions and build again",
            ) from error
        return SnapshotLog.of(location).snapshots[snapshot.snapshot_id]


def files(snapshots: Sequence[Snapshot]) -> list[str]:
    """The Parquet files that hold these snapshots, absolute, in the given order.

    Raises:
        LakeError: a snapshot's files are not in its table any more, or hold only what changed.
    """
    logs = _logs(snapshots)
    for snapshot in snapshots:
        if snapshot.change is not None:
            raise LakeError(
                f"{snapshot.table}: the files of snapshot {snapshot.snapshot_id} hold only what changed",
                hint="read its rows through relation_sql",
            )
    return [path for snapshot in snapshots for path in _files(logs[snapshot.location], snapshot)]


def relation_sql(snapshots: Sequence[Snapshot]) -> str:
    """A DuckDB `SELECT` over the rows of these snapshots of one table; empty but typed where they hold no rows.

    Raises:
        LakeError: there is no snapshot at all, so there is no schema either.
    """
    if not snapshots:
        raise LakeError("no snapshot to read")
    logs = _logs(snapshots)
    selects = []
    for location, log in logs.items():
        here = [s for s in snapshots if s.location == location]
        expanded, covered = expanded_sql(log, here)
        selects += _full_sql(log, [s for s in here if s.snapshot_id not in covered]) + expanded
    if not selects:
        return empty_relation_sql(logs[snapshots[0].location].schema())
    return " UNION ALL BY NAME ".join(f"({select})" for select in selects)


def _full_sql(log: SnapshotLog, snapshots: Sequence[Snapshot]) -> list[str]:
    """Files of one schema are bound by one of them; `union_by_name` would open all of them for each query."""
    groups: dict[int, list[str]] = {}
    for snapshot in snapshots:
        paths = _files(log, snapshot)
        groups.setdefault(log.schema_number(snapshot.snapshot_id), []).extend(paths)
    return [_parquet_sql(paths) for _, paths in sorted(groups.items()) if paths]


def _logs(snapshots: Sequence[Snapshot]) -> dict[str, SnapshotLog]:
    """The logs of the snapshots' tables by location, each followed once."""
    return {p: SnapshotLog.of(Path(p)) for p in dict.fromkeys(s.location for s in snapshots)}


def _files(log: SnapshotLog, snapshot: Snapshot) -> Sequence[str]:
    paths = log.files(snapshot.snapshot_id)
    stored = snapshot.rows if snapshot.change is None else snapshot.change.rows
    if not paths and stored > 0:
        raise LakeError(f"{snapshot.table}: the files of snapshot {snapshot.snapshot_id} are gone")
    return paths


def _parquet_sql(paths: Sequence[str]) -> str:
    listed = ", ".join(literal(path) for path in paths)
    return (
        f"SELECT * FROM read_parquet([{listed}], hive_partitioning=true, "
        f"hive_types={{'{SNAPSHOT_COLUMN}': VARCHAR}})"
    )


def newest_per_as_of(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Of each as_of the newest correction (rule 13), oldest as_of first.

    A correction restates its whole as_of, so an entity it no longer holds is gone, not older.
    """
    newest: dict[datetime, Snapshot] = {}
    for snapshot in sorted(snapshots, key=lambda s: (s.published_at, s.snapshot_id)):
        newest[snapshot.as_of] = snapshot
    return [newest[as_of] for as_of in sorted(newest)]


def _check_schema(log: SnapshotLog, schema: pa.Schema, table: str) -> None:
    """delta-rs casts in silence (1.5 into a long is 1), so compare before it can."""
    if not log.is_table:
        return
    for field in log.schema():
        position = schema.get_field_index(field.name)
        if position < 0:
            raise SchemaChanged(
                f"{table}: column {field.name} is published as {field.type} and is gone from the feature table",
                hint="readers depend on it: keep it, or declare a new model version",
            )
        new = schema.field(position).type
        if _plain(new) != _plain(field.type):
            raise SchemaChanged(
                f"{table}: column {field.name} is published as {field.type}, the feature table now has {new}",
                hint="cast it back, or declare a new model version",
            )


def _plain(kind: pa.DataType) -> str:
    """A type's name without how Arrow happens to lay it out."""
    text = (
        str(kind)
        .replace("large_", "")
        .replace("string_view", "string")
        .replace("binary_view", "binary")
    )
    return text.replace("element: ", "item: ").replace("l: ", "item: ")
