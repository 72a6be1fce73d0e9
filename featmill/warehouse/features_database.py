"""The read-only DuckDB file with one view per published table: people's SQL and point-in-time queries.

It holds no data: each view reads the Parquet files of the released snapshots, of each as_of the newest correction. A
new file is written beside the old one and renamed over it, so a reader sees one or the other, never half.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from featmill import clock
from featmill.errors import LakeError
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.lake import relation_sql
from featmill.warehouse.registry import Registry

#: Writing the file takes seconds.
_YOUNG = timedelta(hours=1)


def write_features_database(path: Path, registry: Registry) -> list[str]:
    """Write the file for what is released now and return its views' names.

    Raises:
        LakeError: the file could not be written; the one before it stays.
    """
    import duckdb

    released = {table: registry.released_snapshots(table) for table in registry.lake.tables()}
    views = sorted(table for table, snapshots in released.items() if snapshots)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_strays(path)
    beside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with duckdb.connect() as connection:
            # An older client must be able to read it: 2.0's own format is unreadable below 2.0.
            connection.execute(
                f"ATTACH {literal(str(beside))} AS features (STORAGE_VERSION 'v1.2.0')"
            )
            for table in views:
                sql = relation_sql(released[table])
                connection.execute(f"CREATE VIEW features.main.{quote(table)} AS {sql}")
            connection.execute("DETACH features")
        beside.replace(path)
    except (duckdb.Error, OSError) as error:
        raise LakeError(
            f"{path} could not be written: {error}", hint="the file before it stays as it was"
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return views


def _remove_strays(path: Path) -> None:
    """Remove what a killed process left beside the file; what is young may be another's that still writes it."""
    oldest = (clock.now() - _YOUNG).timestamp()
    for stray in path.parent.glob(f".{path.name}.*"):
        with suppress(OSError):  # gone already, or not ours to remove: it only takes space
            if stray.stat().st_mtime < oldest:
                stray.unlink()
