"""Iceberg as a second published format: the released snapshots of a table, mirrored for engines that read Iceberg.

Delta stays what featmill itself reads. The mirror follows releases: one Iceberg commit per snapshot, its identity in
the commit's summary, appended in the order they were published, so Iceberg's own time travel is ours. Rows are streamed
into Parquet files that a commit then takes over (`add_files`), so memory does not grow with the table; pyiceberg's own
`append` would hold a snapshot whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from featmill.errors import LakeError, SchemaChanged, SettingError
from featmill.warehouse.columns import literal
from featmill.warehouse.delta_files import empty_relation_sql
from featmill.warehouse.lake import SNAPSHOT_COLUMN, relation_sql

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from featmill.warehouse.lake import Lake
    from featmill.warehouse.model import Snapshot
    from featmill.warehouse.registry import Registry

#: The catalogue's name, for pyiceberg's own settings: `PYICEBERG_CATALOG__FEATMILL__URI` and the like win over ours.
CATALOG = "featmill"

_SNAPSHOT_PROPERTY = "featmill.snapshot_id"
_IDENTITY_PROPERTY = "featmill.snapshot"
_BATCH_ROWS = 65_536
#: A file of this many rows is closed and the next begun.
_FILE_ROWS = 2_000_000


class IcebergMirror:
    """The Iceberg tables of a lake: `<tenant>.<table>_v<version>` in the catalogue `featmill`.

    Unless pyiceberg is configured otherwise, the catalogue is an SQLite file below `<lake>/_iceberg`, and the tables
    lie beside it.

    Raises:
        SettingError: pyiceberg is not installed, or its configured catalogue cannot be opened.
    """

    def __init__(self, lake_root: Path) -> None:
        self.root = lake_root / "_iceberg"
        self._catalog = _open_catalog(self.root)

    def publish(self, snapshots: Sequence[Snapshot]) -> list[str]:
        """Append the snapshots of one table that the mirror does not hold yet; their ids, in the order of publishing.

        Raises:
            SchemaChanged: a column's type differs from the mirror's, or it is gone.
            LakeError: the mirror could not be written; snapshots committed before stay, this one does not appear.
        """
        if not snapshots:
            return []
        identifier = _identifier(snapshots[0])
        held = set(self.snapshots(identifier))
        wanted = sorted(snapshots, key=lambda s: (s.published_at, s.snapshot_id))
        added = [snapshot for snapshot in wanted if snapshot.snapshot_id not in held]
        for snapshot in added:
            self._append(identifier, snapshot)
        return [snapshot.snapshot_id for snapshot in added]

    def snapshots(self, identifier: str) -> dict[str, int]:
        """featmill's snapshot ids in a mirrored table -> Iceberg's, in the order of its commits; empty without it."""
        if not self._catalog.table_exists(identifier):
            return {}
        found = {}
        for commit in self._catalog.load_table(identifier).snapshots():
            summary = commit.summary.additional_properties if commit.summary else {}
            if _SNAPSHOT_PROPERTY in summary:
                found[summary[_SNAPSHOT_PROPERTY]] = commit.snapshot_id
        return found

    def restate(self, lake: Lake, table: str) -> None:
        """Make a mirrored table anew of what the lake holds of it: after rows or snapshots were taken out.

        Iceberg's own deletes leave the files to every snapshot before them; a table that is made anew has none.

        Raises:
            LakeError: the mirror could not be written; run `featmill iceberg` to complete it.
        """
        snapshots = lake.snapshots(table)
        for location in dict.fromkeys(s.location for s in snapshots):
            here = [s for s in snapshots if s.location == location]
            identifier = _identifier(here[0])
            held = self.snapshots(identifier)
            if held:
                folder = Path(_path(self.table(identifier).location()))
                self._catalog.drop_table(identifier)
                shutil.rmtree(folder, ignore_errors=True)
                self.publish([s for s in here if s.snapshot_id in held])

    def identifiers(self) -> list[str]:
        """The names of the mirrored tables, sorted."""
        namespaces = self._catalog.list_namespaces()
        found = [one for namespace in namespaces for one in self._catalog.list_tables(namespace)]
        return sorted(".".join(one) for one in found)

    def table(self, identifier: str) -> Table:
        """The Iceberg table.

        Raises:
            LakeError: nothing was mirrored under this name.
        """
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self._catalog.load_table(identifier)
        except NoSuchTableError as error:
            raise LakeError(
                f"there is no Iceberg table {identifier}",
                hint="declare formats: [delta, iceberg] on its feature table, and build",
            ) from error

    def relation_sql(self, identifier: str, snapshot_ids: Sequence[str]) -> str:
        """A DuckDB `SELECT` over the rows of these snapshots: its own Iceberg reader needs an extension, we do not.

        Raises:
            LakeError: the mirror does not hold one of them.
        """
        table = self.table(identifier)
        absent = [one for one in snapshot_ids if one not in self.snapshots(identifier)]
        if absent:
            raise LakeError(f"{identifier} holds no snapshot {', '.join(absent)}")
        wanted = ", ".join(literal(one) for one in snapshot_ids)
        tasks = list(table.scan(row_filter=f"{SNAPSHOT_COLUMN} IN ({wanted})").plan_files())
        if any(task.delete_files for task in tasks):
            raise LakeError(
                f"{identifier}: rows were deleted by another engine, merge-on-read",
                hint="compact the table there, or read it there",
            )
        paths = [_path(task.file.file_path) for task in tasks]
        if not paths:  # a file without rows is not planned
            return empty_relation_sql(table.schema().as_arrow())
        listed = ", ".join(literal(path) for path in paths)
        return f"SELECT * FROM read_parquet([{listed}], union_by_name=true)"

    def _append(self, identifier: str, snapshot: Snapshot) -> None:
        import duckdb
        from pyiceberg.exceptions import CommitFailedException

        sql = relation_sql([snapshot])
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            reader = connection.sql(sql).to_arrow_reader(_BATCH_ROWS)
            table = self._table_for(identifier, reader.schema)
            _require_same_types(identifier, table, reader.schema)
            folder = Path(_path(table.location())) / "data"
            _remove_orphans(folder, snapshot.snapshot_id)
            try:
                files = list(_write(folder, snapshot.snapshot_id, reader))
                with table.transaction() as transaction:
                    with transaction.update_schema() as schema:
                        schema.union_by_name(reader.schema)
                    transaction.add_files(
                        [_uri(path) for path in files], snapshot_properties=_summary(snapshot)
                    )
            except (OSError, CommitFailedException, duckdb.Error) as error:
                _remove_orphans(folder, snapshot.snapshot_id)
                raise LakeError(
                    f"{identifier}: snapshot {snapshot.snapshot_id} could not be mirrored: {error}",
                    hint="the Delta table holds it; build again, or run `featmill iceberg`, to mirror it",
                ) from error

    def _table_for(self, identifier: str, schema: pa.Schema) -> Table:
        if self._catalog.table_exists(identifier):
            return self._catalog.load_table(identifier)
        self._catalog.create_namespace_if_not_exists(identifier.partition(".")[0])
        with (
            self._catalog.create_table_transaction(identifier, schema=schema) as transaction,
            transaction.update_spec() as spec,
        ):
            spec.add_identity(SNAPSHOT_COLUMN)
        return self._catalog.load_table(identifier)


def mirror_released(registry: Registry, tables: Iterable[str]) -> dict[str, list[str]]:
    """Mirror every snapshot of these tables that stands in a release; table -> the snapshot ids that were added.

    Raises:
        SettingError: pyiceberg is not installed, or its catalogue cannot be opened.
        SchemaChanged: a column's type differs from the mirror's.
        LakeError: the mirror could not be written. Run again, it goes on where it stopped.
    """
    mirror = IcebergMirror(registry.lake.root)
    releases = registry.releases()
    added = {}
    for table in tables:
        released = {release.snapshots.get(table) for release in releases}
        snapshots = [s for s in registry.lake.snapshots(table) if s.snapshot_id in released]
        # Versions of a table are tables of their own there.
        locations = dict.fromkeys(snapshot.location for snapshot in snapshots)
        added[table] = [
            one
            for location in locations
            for one in mirror.publish([s for s in snapshots if s.location == location])
        ]
    return added


def _open_catalog(root: Path) -> Catalog:
    try:
        from pyiceberg.catalog import load_catalog
    except ImportError as error:
        raise SettingError(
            "Iceberg needs pyiceberg, which is not installed",
            hint="pip install 'featmill[iceberg]'",
        ) from error
    prefix = f"PYICEBERG_CATALOG__{CATALOG.upper()}__"
    ours: dict[str, str] = {}
    if not any(name.startswith(prefix) for name in os.environ):
        ours = {
            "type": "sql",
            "uri": f"sqlite:///{root / 'catalog.db'}",
            "warehouse": _uri(root),
        }
    try:
        if ours:
            root.mkdir(parents=True, exist_ok=True)
        return load_catalog(CATALOG, **ours)
    except (ValueError, OSError) as error:
        raise SettingError(
            f"the Iceberg catalogue at {ours.get('uri', CATALOG)} cannot be opened: {error}"
        ) from error


def identifier_of(table: str, version: str = "1", tenant: str = "default") -> str:
    """What a table is called in the catalogue."""
    return f"{tenant}.{table}_v{version}"


def _identifier(snapshot: Snapshot) -> str:
    location = Path(snapshot.location)  # <lake>/<tenant>/<table>/v<version>
    return identifier_of(snapshot.table, location.name.removeprefix("v"), location.parents[1].name)


def _summary(snapshot: Snapshot) -> dict[str, str]:
    identity = {
        "as_of": snapshot.as_of.isoformat(),
        "cut_off": snapshot.cut_off.isoformat(),
        "published_at": snapshot.published_at.isoformat(),
        "fingerprint": snapshot.fingerprint,
        "content_hash": snapshot.content_hash,
        "rows": snapshot.rows,
    }
    return {
        _SNAPSHOT_PROPERTY: snapshot.snapshot_id,
        _IDENTITY_PROPERTY: json.dumps(identity, sort_keys=True),
    }


def _require_same_types(identifier: str, table: Table, schema: pa.Schema) -> None:
    """`union_by_name` widens in silence (an int becomes a long), so compare before it can."""
    for live in table.schema().as_arrow():
        position = schema.get_field_index(live.name)
        if position < 0:
            raise SchemaChanged(
                f"{identifier}: column {live.name} is published as {live.type} and is gone",
                hint="readers depend on it: keep it, or declare a new model version",
            )
        new = schema.field(position).type
        if _iceberg_type(new) != _iceberg_type(live.type):
            raise SchemaChanged(
                f"{identifier}: column {live.name} is published as {live.type}, the snapshot has {new}",
                hint="cast it back, or declare a new model version",
            )


def _iceberg_type(kind: pa.DataType) -> str:
    """A published Arrow type by its name in Iceberg, which has fewer and one layout of each."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{_iceberg_type(kind.value_type)}>"
    if pa.types.is_int8(kind) or pa.types.is_int16(kind):
        return "int32"
    return str(kind).replace("large_", "").replace("_view", "")


def _write(folder: Path, snapshot_id: str, reader: pa.RecordBatchReader) -> Iterator[Path]:
    """Stream the rows into Parquet files; at least one, so that a snapshot without rows is still a commit."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    batches = iter(reader)
    batch = next(batches, None)
    first = True
    while first or batch is not None:
        first = False
        path = folder / f"{snapshot_id}.{uuid4().hex}.parquet"
        written = 0
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            while batch is not None and written < _FILE_ROWS:
                writer.write_batch(batch)
                written += batch.num_rows
                batch = next(batches, None)
        yield path


def _remove_orphans(folder: Path, snapshot_id: str) -> None:
    """Files that a killed run wrote for this snapshot and no commit took over; only a snapshot not held is written."""
    for path in folder.glob(f"{snapshot_id}.*.parquet"):
        path.unlink(missing_ok=True)


def _uri(path: Path) -> str:
    """A path as pyiceberg takes it: with its scheme, and not percent-encoded, since it does not decode."""
    return f"file://{path}"


def _path(uri: str) -> str:
    return uri.removeprefix("file://")
