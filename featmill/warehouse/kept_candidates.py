"""The newest published candidate of each table, kept in the private build database to compare the next one with.

Two tables of one database are compared in a fraction of what reading a chain back from Parquet takes. What is kept is a
copy that nothing depends on: where it is absent, or not of the very files that hold the base now (another process, a
correction, retention, an erasure), the base is read from the lake.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.warehouse.change_log import chain
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.identity import Content, only_row
from featmill.warehouse.snapshot_log import SnapshotLog

if TYPE_CHECKING:
    import duckdb

    from featmill.warehouse.model import Snapshot

#: The part of each kept row in its `Content.digest`.
DIGEST = "_featmill_digest"
_SCHEMA = "featmill_published"


@dataclass(frozen=True, slots=True)
class Kept:
    """A published candidate as it was: its rows, each with keys of its own, and the sum of their digests."""

    rows: int
    digest: int


def kept_relation(table: str, location: Path) -> str:
    """The relation in which the newest candidate of a table is kept, for the lake that it is published to."""
    return f"{_SCHEMA}.{quote(_name(table, str(location)))}"


def kept_candidate(
    cursor: duckdb.DuckDBPyConnection, base: Snapshot, types: Mapping[str, str]
) -> Kept | None:
    """What is kept of this snapshot; None where it is not, or is not what the lake holds as this snapshot now."""
    name = literal(_name(base.table, base.location))
    found = cursor.execute(
        "SELECT comment FROM duckdb_tables() WHERE database_name = current_database() "
        f"AND schema_name = '{_SCHEMA}' AND table_name = {name}"
    ).fetchall()
    said = json.loads(found[0][0]) if found and found[0][0] else {}
    if said.get("of") != _state(base) or said.get("types") != dict(types):
        return None
    return Kept(base.rows, int(said["digest"]))


def keep_rows(cursor: duckdb.DuckDBPyConnection, relation: str, rows: str) -> bool:
    """Keep these rows in place of others, of no snapshot yet; False where the database cannot hold them."""
    import duckdb

    try:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
        cursor.execute(f"CREATE OR REPLACE TABLE {relation} AS {rows}")
    except (
        duckdb.Error
    ):  # nothing needs a copy: a disk is full, or another thread creates the schema
        return False
    return True


def exchange_rows(
    cursor: duckdb.DuckDBPyConnection, relation: str, gone: str, keys: str, rows: str
) -> bool:
    """Take the rows with the keys in `gone` out and these rows in; False where it fails: it is of no snapshot then."""
    import duckdb

    try:
        cursor.execute(f"COMMENT ON TABLE {relation} IS NULL")
        matched = f"SELECT rowid FROM {relation} SEMI JOIN {gone} USING ({keys})"
        cursor.execute(f"DELETE FROM {relation} WHERE rowid IN ({matched})")
        cursor.execute(f"INSERT INTO {relation} BY NAME {rows}")
    except duckdb.Error:  # as above
        return False
    return True


def vouch(
    cursor: duckdb.DuckDBPyConnection,
    relation: str,
    types: Mapping[str, str],
    content: Content,
    published: Snapshot,
) -> None:
    """Say that the kept rows are this snapshot's. They are counted first: a copy may be absent, never wrong."""
    counted = only_row(cursor, f"SELECT count(*), coalesce(sum({DIGEST}), 0) FROM {relation}")
    if counted == (content.rows, content.digest):
        said = {"of": _state(published), "types": dict(types), "digest": str(content.digest)}
        text = literal(json.dumps(said, sort_keys=True))
        cursor.execute(f"COMMENT ON TABLE {relation} IS {text}")


def forget_rows(cursor: duckdb.DuckDBPyConnection, relation: str) -> None:
    """Remove what is kept in the relation."""
    sql = f"SELECT 1 FROM duckdb_schemas() WHERE database_name = current_database() AND schema_name = '{_SCHEMA}'"
    if cursor.execute(sql).fetchall():
        cursor.execute(f"DROP TABLE IF EXISTS {relation}")


def _state(snapshot: Snapshot) -> str:
    """The snapshot and the files that it is read from: rewriting one, as an erasure does, gives another name."""
    log = SnapshotLog.of(Path(snapshot.location))
    files = [path for link in chain(log, snapshot) for path in log.files(link.snapshot_id)]
    return _digest([snapshot.snapshot_id, snapshot.content_hash, snapshot.as_of.isoformat(), files])


def _name(table: str, location: str) -> str:
    return f"{table}_{_digest(location)[:16]}"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
