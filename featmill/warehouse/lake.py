"""The lake: one Delta table per feature table and schema version, append only, one commit per snapshot.

Everything but dbt reads this. A snapshot's identity stands in the metadata of the commit that made it, so the lake
explains itself without us; the registry of releases says which snapshots readers may trust.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featmill.errors import LakeError, SchemaChanged
from featmill.warehouse.columns import literal
from featmill.warehouse.delta_files import data_files, empty_sql
from featmill.warehouse.model import Snapshot, SourceVersion

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

#: The partition column and the publish metadata that every published table carries.
SNAPSHOT_COLUMN = "snapshot_id"
PUBLISHED_AT_COLUMN = "published_at"

_METADATA_KEY = "featmill.snapshot"
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
            found.extend(_read_snapshots(log.parent))
        return sorted(found, key=lambda s: (s.published_at, s.snapshot_id))

    def snapshot(self, table: str, snapshot_id: str) -> Snapshot:
        """One snapshot by its id.

        Raises:
            LakeError: there is none.
        """
        for snapshot in self.snapshots(table):
            if snapshot.snapshot_id == snapshot_id:
                return snapshot
        raise LakeError(
            f"{table} has no snapshot {snapshot_id!r}",
            hint="featmill snapshots lists what there is",
        )

    def append(self, rows: pa.RecordBatchReader, snapshot: Snapshot) -> Snapshot:
        """Write the rows as one commit with the snapshot's identity in its metadata; nothing on failure.

        Raises:
            SchemaChanged: a live column changed its type or is gone.
            LakeError: the lake could not be written; nothing was committed.
        """
        from deltalake import CommitProperties, write_deltalake
        from deltalake.exceptions import DeltaError

        location = Path(snapshot.location)
        _check_schema(location, rows.schema, snapshot.table)
        location.mkdir(parents=True, exist_ok=True)
        try:
            write_deltalake(
                str(location),
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
                commit_properties=CommitProperties(
                    custom_metadata={_METADATA_KEY: _dump(snapshot)}
                ),
            )
        except (DeltaError, OSError) as error:
            raise LakeError(
                f"{snapshot.table}: the snapshot could not be written to {location}: {error}",
                hint="nothing was published; free space or mend the folder's permissions and build again",
            ) from error
        return self.snapshot(snapshot.table, snapshot.snapshot_id)


def files(snapshots: Sequence[Snapshot]) -> list[str]:
    """The Parquet files that hold these snapshots, absolute, in the given order.

    Raises:
        LakeError: a snapshot's files are not in its table any more.
    """
    found: list[str] = []
    by_location: dict[str, Any] = {}
    for snapshot in snapshots:
        table = by_location.get(snapshot.location)
        if table is None:
            table = by_location[snapshot.location] = _open(Path(snapshot.location))
        paths = data_files(table, (SNAPSHOT_COLUMN, snapshot.snapshot_id))
        if not paths and snapshot.rows > 0:
            raise LakeError(
                f"{snapshot.table}: the files of snapshot {snapshot.snapshot_id} are gone"
            )
        found.extend(paths)
    return found


def relation_sql(snapshots: Sequence[Snapshot]) -> str:
    """A DuckDB `SELECT` over the rows of these snapshots of one table; empty but typed where they hold no rows.

    Raises:
        LakeError: there is no snapshot at all, so there is no schema either.
    """
    if not snapshots:
        raise LakeError("no snapshot to read")
    paths = files(snapshots)
    if not paths:
        return empty_sql(_open(Path(snapshots[0].location)))
    listed = ", ".join(literal(path) for path in paths)
    return (
        f"SELECT * FROM read_parquet([{listed}], union_by_name=true, hive_partitioning=true, "
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


def _open(location: Path) -> DeltaTable:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        return DeltaTable(str(location))
    except (DeltaError, OSError) as error:
        raise LakeError(f"{location} cannot be read as a Delta table: {error}") from error


def _read_snapshots(location: Path) -> list[Snapshot]:
    found = []
    for commit in _open(location).history():
        text = commit.get(_METADATA_KEY)
        if text is None:
            raise LakeError(
                f"{location}: version {commit.get('version')} was not written by featmill ({commit.get('operation')})",
                hint="published tables are append-only; restore the table's log or publish to a new FEATMILL_HOME",
            )
        found.append(_load(str(text), location, int(commit["version"])))
    return found


def _check_schema(location: Path, schema: pa.Schema, table: str) -> None:
    """delta-rs casts in silence (1.5 into a long is 1), so compare before it can."""
    import pyarrow as pa
    from deltalake import DeltaTable

    if not DeltaTable.is_deltatable(str(location)):
        return
    live = pa.schema(_open(location).schema().to_arrow())
    for field in live:
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


def _dump(snapshot: Snapshot) -> str:
    fields = asdict(snapshot)
    del fields["location"], fields["delta_version"]
    return json.dumps(fields, default=lambda value: value.isoformat(), sort_keys=True)


def _load(text: str, location: Path, delta_version: int) -> Snapshot:
    fields = json.loads(text)
    for name in ("as_of", "cut_off", "published_at"):
        fields[name] = datetime.fromisoformat(fields[name])
    fields["sources"] = tuple(
        SourceVersion(
            source=source["source"],
            rows=source["rows"],
            digest=source["digest"],
            newest=None if source["newest"] is None else datetime.fromisoformat(source["newest"]),
        )
        for source in fields["sources"]
    )
    return Snapshot(**fields, location=str(location), delta_version=delta_version)
