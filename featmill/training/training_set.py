"""Build a training set: the spine joined to released snapshots as they stood at each row's moment (rules 12 to 16)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from featmill import clock
from featmill.errors import LakeError, NoRelease, SpineError, UsageError
from featmill.training.spine import MOMENT, Spine, read_spine
from featmill.training.templates import point_in_time_sql
from featmill.warehouse.columns import literal
from featmill.warehouse.identity import only_row, rows_digest_sql
from featmill.warehouse.lake import relation_sql

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from featmill.contract.catalog import Catalog, Feature, FeatureRef, FeatureTable
    from featmill.contract.types import FeatureType
    from featmill.warehouse.model import Snapshot
    from featmill.warehouse.registry import Registry

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What is asked for: `zone` of a naive time column; `status` adds `view__status` and source-time columns.

    `project` is the dbt project's folder: the manifest names the commit checked out there.
    """

    spine: Path
    time: str
    features: tuple[FeatureRef, ...]
    out: Path
    zone: str | None = None
    status: bool = False
    service: str | None = None
    project: Path = Path()


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What was written: the Parquet file, its manifest, and how many rows and columns it has."""

    path: Path
    manifest: Path
    rows: int
    columns: tuple[str, ...]


def build_training_set(
    catalog: Catalog, registry: Registry, request: TrainingRequest
) -> TrainingSet:
    """Write the training set and, beside it, its manifest (`<out>.manifest.json`).

    The output has exactly the spine's rows, columns and order, then a `view__feature` column for each feature.

    Raises:
        SpineError: the spine lacks a column, has NULLs, or a key of another kind.
        NoRelease: a wanted table has never been released.
        LakeError: what is released cannot be read, or no snapshot of it has a wanted feature.
        UsageError: a view or feature does not exist, the output is not a `.parquet` path or cannot be written.
    """
    import duckdb

    if request.out.suffix != ".parquet":
        raise UsageError(f"{request.out} is not a .parquet path")
    tables = _wanted(catalog, request.features)
    snapshots = {table.name: registry.released_snapshots(table.name) for table, _ in tables}
    for name, found in snapshots.items():
        if not found:
            raise NoRelease(f"{name} has never been released", hint="build it first: dbt build")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        spine = read_spine(connection, request.spine, request.time, _keys(tables), request.zone)
        views = [_view(table, features, snapshots[table.name]) for table, features in tables]
        for view in views:
            _check_released(connection, view)
        _check_names(spine, views, status=request.status)
        sql = point_in_time_sql(spine.sql, MOMENT, views, status=request.status, hidden=[MOMENT])
        columns = _write(connection, sql, request)
        rows, content = _content(connection, request.out, columns)
    manifest = _manifest(request, snapshots, rows, columns, content)
    path = request.out.with_name(request.out.name + ".manifest.json")
    _replace(path, json.dumps(manifest, indent=2) + "\n")
    return TrainingSet(request.out, path, rows, tuple(columns))


def _wanted(
    catalog: Catalog, refs: Sequence[FeatureRef]
) -> list[tuple[FeatureTable, list[Feature]]]:
    if not refs:
        raise UsageError(
            "no feature was asked for", hint="give --service NAME or --features view:feature,..."
        )
    wanted: dict[str, tuple[FeatureTable, list[Feature]]] = {}
    for ref in refs:
        table = catalog.table(ref.view)
        features = wanted.setdefault(ref.view, (table, []))[1]
        feature = table.feature(ref.feature)
        if feature not in features:
            features.append(feature)
    return list(wanted.values())


def _keys(tables: Sequence[tuple[FeatureTable, list[Feature]]]) -> dict[str, FeatureType]:
    return {key.name: key.type for table, _ in tables for key in table.join_keys}


def _view(
    table: FeatureTable, features: Sequence[Feature], snapshots: Sequence[Snapshot]
) -> dict[str, Any]:
    return {
        "name": table.name,
        "relation": f"({relation_sql(snapshots)})",
        "keys": list(table.key_names),
        "event_time": table.event_time,
        "ttl_us": None if table.ttl is None else round(table.ttl.total_seconds() * 1_000_000),
        "features": [
            {
                "name": feature.name,
                "ignore_nulls": feature.ignore_nulls,
                "default_sql": _default_sql(feature.default),
            }
            for feature in features
        ],
    }


def _default_sql(value: object) -> str:
    """The same text as the macro `_literal` gives."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else literal(str(value))


def _check_names(spine: Spine, views: Sequence[dict[str, Any]], *, status: bool) -> None:
    new = [f"{view['name']}__{feature['name']}" for view in views for feature in view["features"]]
    if status:
        new += [
            f"{view['name']}__{suffix}"
            for view in views
            for suffix in ("status", view["event_time"])
        ]
    clash = sorted(
        {name.lower() for name in spine.columns}.intersection(name.lower() for name in new)
    )
    if clash:
        raise SpineError(
            f"{spine.path} already has a column {', '.join(clash)}", hint="rename it in the spine"
        )


def _check_released(connection: duckdb.DuckDBPyConnection, view: dict[str, Any]) -> None:
    """Refuse a feature that is declared and in no released snapshot, before DuckDB misses its column in the join."""
    import duckdb

    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {view['relation']}").fetchall()
    except duckdb.Error as error:
        raise LakeError(
            f"the snapshots of {view['name']} cannot be read: {_said(error)}"
        ) from error
    columns = {str(row[0]).lower() for row in described}
    absent = [f["name"] for f in view["features"] if f["name"].lower() not in columns]
    if absent:
        raise LakeError(
            f"{view['name']}: no released snapshot has the feature {', '.join(absent)}",
            hint="it was declared since: build and publish the table first",
        )


def _write(connection: duckdb.DuckDBPyConnection, sql: str, request: TrainingRequest) -> list[str]:
    """Stream the rows into a file beside the output, then rename it: half a file never has the output's name."""
    import pyarrow.parquet as pq

    out = request.out
    beside = out.with_name(f".{out.name}.{uuid4().hex}")
    reader = _reader(connection, sql, request)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(beside, reader.schema, compression="zstd") as writer:
            for batch in _batches(reader, request):
                writer.write_batch(batch)
        beside.replace(out)
    except OSError as error:
        raise UsageError(
            f"{out} could not be written: {error.strerror or error}",
            hint="choose another --out; the file before it stays as it was",
        ) from error
    finally:
        # Where the folder could not be made there is nothing to remove either.
        with suppress(OSError):
            beside.unlink()
    return list(reader.schema.names)


def _reader(
    connection: duckdb.DuckDBPyConnection, sql: str, request: TrainingRequest
) -> pa.RecordBatchReader:
    import duckdb

    try:
        return connection.sql(sql).to_arrow_reader(_BATCH_ROWS)
    except duckdb.Error as error:
        raise _unreadable(error, request) from error


def _batches(reader: pa.RecordBatchReader, request: TrainingRequest) -> Iterator[pa.RecordBatch]:
    """The rows as they are computed; what fails here was being read, not written."""
    import duckdb
    import pyarrow as pa

    try:
        yield from reader
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise _unreadable(error, request) from error


def _unreadable(error: Exception, request: TrainingRequest) -> LakeError | SpineError:
    """DuckDB names the file that it stumbled over, and tells whose it is in no other way."""
    if str(request.spine) in str(error):
        return SpineError(f"{request.spine} cannot be read: {_said(error)}")
    return LakeError(f"the released snapshots cannot be read: {_said(error)}")


def _said(error: Exception) -> str:
    """DuckDB's words without our SQL."""
    return str(error).partition("\nLINE ")[0].strip()


def _content(
    connection: duckdb.DuckDBPyConnection, out: Path, columns: list[str]
) -> tuple[int, str]:
    """Rows and a hash of values and their order, whatever the file's layout."""
    relation = f"read_parquet({literal(str(out))}, file_row_number=true)"
    row_number = "file_row_number"
    rows, digest = only_row(connection, rows_digest_sql([row_number, *columns], relation))
    return int(rows), hashlib.sha256(json.dumps([columns, rows, digest]).encode()).hexdigest()


def _manifest(
    request: TrainingRequest,
    snapshots: dict[str, list[Snapshot]],
    rows: int,
    columns: Sequence[str],
    content: str,
) -> dict[str, Any]:
    from featmill.training.provenance import file_hash, git_sha, versions

    return {
        "made_at": clock.now().isoformat(),
        "mode": "event",
        "windows": "snapshot",
        "service": request.service,
        "features": [str(ref) for ref in request.features],
        "time_column": request.time,
        "zone": request.zone,
        "status": request.status,
        "spine": {"path": str(request.spine), "sha256": file_hash(request.spine)},
        "snapshots": {table: [s.snapshot_id for s in found] for table, found in snapshots.items()},
        "output": {
            "path": str(request.out),
            "rows": rows,
            "columns": list(columns),
            "content_sha256": content,
        },
        "git_sha": git_sha(request.project),
        "versions": versions(),
    }


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{uuid4().hex}")
    beside.write_text(text)
    beside.replace(path)
