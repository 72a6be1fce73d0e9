"""Change snapshots, written: what of a candidate differs from its base, found, stored and read back.

A candidate is compared with its base as the base reads back from the lake, value by value; what is equal is not stored.
So a change snapshot expands to its candidate whatever the base holds. It is read back and compared all the same before
anybody may trust it: the file that was written is what readers get.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from featmill.warehouse.change_log import MAX_CHAIN, base_sql, stored_sql
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.identity import only_row
from featmill.warehouse.lake import PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN, Lake, relation_sql
from featmill.warehouse.model import Change, Snapshot, Vanished
from featmill.warehouse.snapshot_log import SnapshotLog

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

#: How a feature table's snapshots are stored: whole, as changes wherever that can be, or what measures better.
Storage = Literal["auto", "full", "changes"]

#: `auto` stores changes up to this share of the rows: above it, comparing and expanding cost more than they save.
MAX_SHARE = 0.3
#: `auto` stores tables below this many rows whole: a file of its own costs as much as they do.
MIN_ROWS = 10_000
#: A chain whose changes come to this many times the rows begins anew: a read would open more than twice what it gives.
MAX_CHAIN_SHARE = 1.5

_BATCH_ROWS = 65_536
_HERE = "_featmill_here"
_SIDE = "_featmill_side"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate as it would be published: the SQL of its rows, and the DuckDB type of each of its columns.

    `event_time` is the column that says from when a row is valid; None where nothing says so.
    """

    sql: str
    types: Mapping[str, str]
    join_keys: tuple[str, ...]
    event_time: str | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a change snapshot stores, and the snapshot as which it is to be published.

    `sql` gives the same rows as `reader` as long as the block lasts.
    """

    snapshot: Snapshot
    sql: str
    reader: pa.RecordBatchReader


@contextmanager
def found_changes(
    cursor: duckdb.DuckDBPyConnection,
    lake: Lake,
    candidate: Candidate,
    wanted: Snapshot,
    storage: Storage,
) -> Iterator[Changes | None]:
    """The candidate as a change snapshot, readable inside the block; None where it is to be stored whole."""
    log = SnapshotLog.of(Path(wanted.location))
    base = None if storage == "full" else _base(lake, log, candidate, wanted)
    is_small = storage == "auto" and wanted.rows < MIN_ROWS
    if base is None or is_small or not _has_keys(cursor, candidate):
        yield None
        return
    change = _change_against(
        base, candidate, is_unique=_is_unique(cursor, candidate, candidate.sql)
    )
    table = quote(f"featmill_changes_{uuid4().hex}")
    before = base_sql(log, base, change, wanted)
    was_unique = base.change.is_unique if base.change else _is_unique(cursor, candidate, before)
    is_one_each = change.is_unique and was_unique
    difference = _row_difference_sql if is_one_each else _group_difference_sql
    cursor.execute(f"CREATE TEMP TABLE {table} AS {difference(candidate, before)}")
    try:
        rows = int(only_row(cursor, f"SELECT count(*) FROM {table}")[0])
        if not _pays(base, wanted, rows, storage):
            yield None
            return
        chain_rows = rows + (base.change.chain_rows if base.change is not None else 0)
        change = replace(change, rows=rows, chain_rows=chain_rows)
        snapshot = replace(wanted, change=change)
        if base.as_of < wanted.as_of:
            gone = only_row(cursor, f"SELECT count(*) FROM {table} WHERE NOT {_HERE}")[0]
            snapshot = replace(snapshot, vanished=Vanished(base.snapshot_id, int(gone)))
        sql = _stored_sql(candidate, snapshot, table)
        yield Changes(snapshot, sql, cursor.sql(sql).to_arrow_reader(_BATCH_ROWS))
    finally:
        cursor.execute(f"DROP TABLE {table}")


def reads_back(
    cursor: duckdb.DuckDBPyConnection, candidate: Candidate, published: Snapshot
) -> bool:
    """Whether a published snapshot, expanded, holds exactly the candidate's rows."""
    columns = ", ".join(quote(name) for name in candidate.types)
    then = relation_sql([published])
    return _is_same_bag(cursor, f"SELECT {columns} FROM ({then})", candidate.sql)


def is_stored(cursor: duckdb.DuckDBPyConnection, changes: Changes, published: Snapshot) -> bool:
    """Whether the files of a change snapshot hold exactly what was found.

    Then it expands to its candidate: what is not stored is equal to what the base reads back as.
    """
    return _is_same_bag(cursor, changes.sql, stored_sql(published))


def _is_same_bag(cursor: duckdb.DuckDBPyConnection, one: str, other: str) -> bool:
    found = [
        only_row(cursor, f"SELECT count(*), sum(hash(COLUMNS(*))::HUGEINT) FROM ({sql})")
        for sql in (one, other)
    ]
    return found[0] == found[1]


def count_vanished(
    cursor: duckdb.DuckDBPyConnection, lake: Lake, candidate: Candidate, wanted: Snapshot
) -> Vanished | None:
    """How many entities of the snapshot before it the candidate lacks; None where there is none to compare with."""
    earlier = [
        s
        for s in lake.snapshots(wanted.table)
        if s.location == wanted.location and s.as_of < wanted.as_of
    ]
    before = max(earlier, key=lambda s: (s.as_of, s.published_at, s.snapshot_id), default=None)
    if before is None:
        return None
    keys = ", ".join(quote(key) for key in candidate.join_keys)
    sql = (
        f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM ({relation_sql([before])})) "
        f"ANTI JOIN ({candidate.sql}) USING ({keys})"
    )
    return Vanished(before.snapshot_id, int(only_row(cursor, sql)[0]))


def _base(lake: Lake, log: SnapshotLog, candidate: Candidate, wanted: Snapshot) -> Snapshot | None:
    """What the snapshot corrects, or the newest correction of the newest as_of before it; None: begin a chain."""
    earlier = [
        s
        for s in lake.snapshots(wanted.table)
        if s.location == str(log.location) and s.as_of <= wanted.as_of
    ]
    base = max(earlier, key=lambda s: (s.as_of, s.published_at, s.snapshot_id), default=None)
    if base is None or base.rows == 0 or _depth(base) >= MAX_CHAIN:
        return None
    columns = {*candidate.types, PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN}
    is_current = log.schema(log.schema_number(base.snapshot_id)) == log.schema()
    if not is_current or columns != set(log.schema().names):
        return None
    same_entity = base.change is None or (
        (base.change.join_keys, base.change.event_time)
        == (candidate.join_keys, candidate.event_time)
    )
    return base if same_entity else None


def _depth(base: Snapshot) -> int:
    return 0 if base.change is None else base.change.depth


def _change_against(base: Snapshot, candidate: Candidate, *, is_unique: bool) -> Change:
    return Change(
        base=base.snapshot_id,
        depth=_depth(base) + 1,
        rows=0,
        chain_rows=0,
        join_keys=candidate.join_keys,
        event_time=candidate.event_time,
        is_unique=is_unique,
    )


def _pays(base: Snapshot, wanted: Snapshot, rows: int, storage: Storage) -> bool:
    before = 0 if base.change is None else base.change.chain_rows
    if before + rows > MAX_CHAIN_SHARE * wanted.rows:
        return False
    return storage == "changes" or rows <= MAX_SHARE * wanted.rows


def _has_keys(cursor: duckdb.DuckDBPyConnection, candidate: Candidate) -> bool:
    """A row without a key belongs to no entity, so nothing could say that it vanished."""
    missing = " OR ".join(f"{quote(key)} IS NULL" for key in candidate.join_keys)
    sql = f"SELECT count(*) FROM (SELECT 1 FROM ({candidate.sql}) WHERE {missing} LIMIT 1)"
    return bool(only_row(cursor, sql)[0] == 0)


def _group_difference_sql(candidate: Candidate, before: str) -> str:
    """The rows to store: those of entities that differ, `_featmill_here`; and the keys of those that vanished, not."""
    keys = ", ".join(quote(key) for key in candidate.join_keys)
    listed = _comparable(candidate)
    now = f"SELECT {listed} FROM ({candidate.sql})"
    then = f"SELECT {listed} FROM ({before})"
    return (
        f"WITH differing AS (SELECT DISTINCT {keys} FROM "
        f"(({now} EXCEPT ALL {then}) UNION ALL ({then} EXCEPT ALL {now}))) "
        f"SELECT *, true AS {_HERE} FROM ({candidate.sql}) SEMI JOIN differing USING ({keys}) "
        f"UNION ALL BY NAME SELECT {keys}, false AS {_HERE} FROM differing "
        f"ANTI JOIN ({candidate.sql}) USING ({keys})"
    )


def _row_difference_sql(candidate: Candidate, before: str) -> str:
    """The same where every entity has one row: one join finds it."""
    keys = candidate.join_keys
    on = " AND ".join(f"now.{quote(key)} = was.{quote(key)}" for key in keys)
    columns = [
        f"coalesce(now.{quote(name)}, was.{quote(name)}) AS {quote(name)}"
        if name in keys
        else f"now.{quote(name)}"
        for name in candidate.types
    ]
    same = [_same(name, kind) for name, kind in candidate.types.items() if name not in keys]
    return (
        f"SELECT {', '.join(columns)}, now.{_SIDE} IS NOT NULL AS {_HERE} "
        f"FROM (SELECT *, 1 AS {_SIDE} FROM ({candidate.sql})) AS now "
        f"FULL JOIN (SELECT *, 1 AS {_SIDE} FROM ({before})) AS was ON {on} "
        f"WHERE now.{_SIDE} IS NULL OR was.{_SIDE} IS NULL OR NOT ({' AND '.join(same) or 'true'})"
    )


def _is_unique(cursor: duckdb.DuckDBPyConnection, candidate: Candidate, relation: str) -> bool:
    """Whether no entity has two rows."""
    keys = ", ".join(quote(key) for key in candidate.join_keys)
    sql = (
        f"SELECT (SELECT count(*) FROM ({relation})) = "
        f"(SELECT count(*) FROM (SELECT DISTINCT {keys} FROM ({relation})))"
    )
    return bool(only_row(cursor, sql)[0])


def _same(name: str, kind: str) -> str:
    """Whether a column's two values are one value: 0.0 and -0.0 are equal numbers and different contents."""
    now, was = f"now.{quote(name)}", f"was.{quote(name)}"
    if kind in ("FLOAT", "DOUBLE"):
        return f"{now} IS NOT DISTINCT FROM {was} AND signbit({now}) IS NOT DISTINCT FROM signbit({was})"
    if "FLOAT" in kind or "DOUBLE" in kind:
        return f"{now}::VARCHAR IS NOT DISTINCT FROM {was}::VARCHAR"
    return f"{now} IS NOT DISTINCT FROM {was}"


def _comparable(candidate: Candidate) -> str:
    """The columns, and beside them what tells values apart that are equal as numbers."""
    listed = []
    for name, kind in candidate.types.items():
        listed.append(quote(name))
        if "FLOAT" in kind or "DOUBLE" in kind:
            listed.append(f"{quote(name)}::VARCHAR AS {quote(f'_featmill_text_{name}')}")
    return ", ".join(listed)


def _stored_sql(candidate: Candidate, snapshot: Snapshot, table: str) -> str:
    """What is stored, in key order; a tombstone is a row that was never published."""
    columns = ", ".join(quote(name) for name in candidate.types)
    keys = ", ".join(quote(key) for key in candidate.join_keys)
    moment = literal(snapshot.published_at.isoformat(sep=" "))
    return (
        f"SELECT {columns}, CASE WHEN {_HERE} THEN TIMESTAMPTZ {moment} END AS {PUBLISHED_AT_COLUMN}, "
        f"{literal(snapshot.snapshot_id)} AS {SNAPSHOT_COLUMN} FROM {table} ORDER BY {keys}"
    )
