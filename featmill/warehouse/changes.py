"""Change snapshots, written: what of a candidate differs from its base, found, stored and read back.

A candidate is compared with its base, value by value (`comparison`); what is equal is not stored. So a change snapshot
expands to its candidate. What is stored is read back and compared before anybody may trust it: the file that was
written is what readers get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from featmill.warehouse.change_log import MAX_CHAIN, stored_sql
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.comparison import (
    HERE,
    Candidate,
    Comparison,
    change_against,
    compare_with_lake,
    depth_of,
)
from featmill.warehouse.identity import only_row
from featmill.warehouse.lake import PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN, Lake, relation_sql
from featmill.warehouse.model import Snapshot, Vanished
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


@dataclass(frozen=True, slots=True)
class Changes:
    """What a change snapshot stores, and the snapshot as which it is to be published.

    `sql` gives the same rows as `reader` as long as the block lasts.
    """

    snapshot: Snapshot
    sql: str
    reader: pa.RecordBatchReader


def found_changes(
    cursor: duckdb.DuckDBPyConnection,
    comparison: Comparison,
    wanted: Snapshot,
    storage: Storage,
) -> Changes | None:
    """The candidate as a change snapshot, readable while it is compared; None where it is to be stored whole."""
    base = comparison.base
    if base is None or storage == "full" or (storage == "auto" and wanted.rows < MIN_ROWS):
        return None
    if comparison.difference is None:
        comparison.difference = compare_with_lake(cursor, comparison.candidate, base, wanted)
    found = comparison.difference
    if found.is_whole or not _pays(base, wanted, found.rows, storage):
        return None
    chain_rows = found.rows + (base.change.chain_rows if base.change is not None else 0)
    change = change_against(base, comparison.candidate, is_unique=found.is_unique)
    change = replace(change, rows=found.rows, chain_rows=chain_rows)
    snapshot = replace(wanted, change=change)
    if base.as_of < wanted.as_of:
        snapshot = replace(snapshot, vanished=Vanished(base.snapshot_id, found.gone))
    sql = _stored_sql(comparison.candidate, snapshot, found.table)
    return Changes(snapshot, sql, cursor.sql(sql).to_arrow_reader(_BATCH_ROWS))


def min_rows_kept(storage: Storage) -> int | None:
    """From how many rows a candidate is worth keeping to compare the next one with it; None: it never is."""
    return {"full": None, "auto": MIN_ROWS, "changes": 0}[storage]


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


def base_of(snapshots: Sequence[Snapshot], location: Path, candidate: Candidate) -> Snapshot | None:
    """What a snapshot corrects, or the newest correction of the newest as_of before it; None: begin a chain."""
    log = SnapshotLog.of(location)
    earlier = [s for s in snapshots if s.location == str(location) and s.as_of <= candidate.as_of]
    base = max(earlier, key=lambda s: (s.as_of, s.published_at, s.snapshot_id), default=None)
    if base is None or base.rows == 0 or depth_of(base) >= MAX_CHAIN:
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


def _pays(base: Snapshot, wanted: Snapshot, rows: int, storage: Storage) -> bool:
    before = 0 if base.change is None else base.change.chain_rows
    if before + rows > MAX_CHAIN_SHARE * wanted.rows:
        return False
    return storage == "changes" or rows <= MAX_SHARE * wanted.rows


def _stored_sql(candidate: Candidate, snapshot: Snapshot, table: str) -> str:
    """What is stored, in key order; a tombstone is a row that was never published."""
    columns = ", ".join(quote(name) for name in candidate.types)
    keys = ", ".join(quote(key) for key in candidate.join_keys)
    moment = literal(snapshot.published_at.isoformat(sep=" "))
    return (
        f"SELECT {columns}, CASE WHEN {HERE} THEN TIMESTAMPTZ {moment} END AS {PUBLISHED_AT_COLUMN}, "
        f"{literal(snapshot.snapshot_id)} AS {SNAPSHOT_COLUMN} FROM {table} ORDER BY {keys}"
    )
