"""A candidate beside its base: what of it differs, and what its content comes to.

Values are compared as they read, one by one. Where the base is kept in the build database, one join finds what differs
and the candidate's content with it: what is equal counts as it did in the base's. Otherwise the base is read from the
lake, and the content is computed from all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from featmill.warehouse.change_log import RESTATED, base_sql, is_restated_sql, moment_sql
from featmill.warehouse.columns import quote
from featmill.warehouse.identity import Content, only_row, row_digest_sql
from featmill.warehouse.kept_candidates import (
    DIGEST,
    Kept,
    exchange_rows,
    forget_rows,
    keep_rows,
    kept_candidate,
    vouch,
)
from featmill.warehouse.model import Change, Snapshot
from featmill.warehouse.snapshot_log import SnapshotLog

if TYPE_CHECKING:
    import duckdb

#: In the table of a difference: whether the candidate has the row, else it is a tombstone.
HERE = "_featmill_here"
_SIDE = "_featmill_side"
_NOW = "_featmill_now"
_WAS = "_featmill_was"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate as it would be published: the SQL of its rows, and the DuckDB type of each of its columns.

    `event_time` is the column that says from when a row is valid; None where nothing says so.
    """

    sql: str
    types: Mapping[str, str]
    join_keys: tuple[str, ...]
    event_time: str | None
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Difference:
    """What of a candidate differs from its base, in a temporary table.

    `rows` are those to store, `gone` of them tombstones. `is_unique` says that each of the candidate's rows has its own
    keys; `is_whole` that a row has none, so that nothing could say that it vanished.
    """

    table: str
    rows: int
    gone: int
    is_unique: bool
    is_whole: bool


@dataclass(slots=True)
class Comparison:
    """A candidate beside its base; None begins a chain. `difference` is there where it came with the content.

    `copy` is the relation that holds the candidate's rows; with a `difference` of `is_kept` the base's. None: no copy.
    """

    candidate: Candidate
    content: Content
    base: Snapshot | None
    copy: str | None = None
    difference: Difference | None = None
    is_kept: bool = False


@contextmanager
def compared(
    cursor: duckdb.DuckDBPyConnection,
    base: Snapshot | None,
    candidate: Candidate,
    copy: str,
    *,
    min_rows: int | None,
) -> Iterator[Comparison]:
    """The candidate's content, and inside the block how it differs from its base.

    Where the base was kept, both come of one join: rows that are equal count as they did in the base's content. Else a
    candidate of `min_rows` with a key for each row is kept in `copy`; None: none is.
    """
    comparison = None
    kept = None if base is None else kept_candidate(cursor, base, candidate.types)
    if base is not None and kept is not None:
        comparison = _compared_with_kept(cursor, candidate, base, copy, kept)
    if comparison is None:
        comparison = _counted(cursor, candidate, base, copy, min_rows)
    try:
        yield comparison
    finally:
        if comparison.difference is not None:
            cursor.execute(f"DROP TABLE {comparison.difference.table}")


def keep(cursor: duckdb.DuckDBPyConnection, comparison: Comparison, published: Snapshot) -> None:
    """Keep what was published for the next comparison."""
    candidate, copy, found = comparison.candidate, comparison.copy, comparison.difference
    if copy is None:
        return
    if comparison.is_kept and found is not None:
        keys = ", ".join(quote(key) for key in candidate.join_keys)
        rows = _marked_sql(candidate, f"{found.table} WHERE {HERE}", candidate.as_of)
        if not exchange_rows(
            cursor, copy, found.table, keys, _kept_sql(candidate, rows, f"now.{_NOW}")
        ):
            return
    vouch(cursor, copy, candidate.types, comparison.content, published)


def _counted(
    cursor: duckdb.DuckDBPyConnection,
    candidate: Candidate,
    base: Snapshot | None,
    copy: str,
    min_rows: int | None,
) -> Comparison:
    """The content out of all rows, which are kept on the way."""
    now = _now_sql(candidate)
    digest = _row_digest(candidate, "now")
    rows = int(only_row(cursor, f"SELECT count(*) FROM ({candidate.sql})")[0])
    is_kept = (
        min_rows is not None
        and rows >= max(min_rows, 1)
        and has_own_keys(cursor, candidate, candidate.sql)
        and keep_rows(cursor, copy, _kept_sql(candidate, now, digest))
    )
    if is_kept:
        total = only_row(cursor, f"SELECT sum({DIGEST}) FROM {copy}")[0]
    else:
        forget_rows(cursor, copy)
        total = only_row(cursor, f"SELECT coalesce(sum({digest}), 0) FROM ({now}) AS now")[0]
    content = _content(candidate, rows, int(total))
    return Comparison(candidate, content, base, copy if is_kept else None)


def _kept_sql(candidate: Candidate, rows: str, digest: str) -> str:
    """Rows that are marked, as they are kept: an event time that restates an as_of is left out."""
    time = candidate.event_time
    columns = [
        f"CASE WHEN now.{RESTATED} THEN NULL ELSE now.{quote(name)} END AS {quote(name)}"
        if name == time
        else f"now.{quote(name)}"
        for name in candidate.types
    ]
    return f"SELECT {', '.join(columns)}, now.{RESTATED}, {digest} AS {DIGEST} FROM ({rows}) AS now"


def _compared_with_kept(
    cursor: duckdb.DuckDBPyConnection, candidate: Candidate, base: Snapshot, copy: str, kept: Kept
) -> Comparison | None:
    """The comparison by one join; None where the candidate has several rows of one entity, or one of none."""
    was = f"SELECT * FROM {copy}"
    if candidate.event_time is not None:
        name = quote(candidate.event_time)
        now = moment_sql(candidate.as_of)
        was = f"SELECT * REPLACE (CASE WHEN {RESTATED} THEN {now} ELSE {name} END AS {name}) FROM {copy}"
    digests = (
        f", CASE WHEN now.{_SIDE} IS NOT NULL THEN {_row_digest(candidate, 'now')} END AS {_NOW}, "
        f"was.{DIGEST} AS {_WAS}"
    )
    table = _new_table(cursor, _row_difference_sql(candidate, was, digests))
    keys = ", ".join(quote(key) for key in candidate.join_keys)
    no_key = " OR ".join(f"{quote(key)} IS NULL" for key in candidate.join_keys)
    rows, gone, come, of_keys, without, change = only_row(
        cursor,
        f"SELECT count(*), count(*) FILTER (NOT {HERE}), count(*) FILTER ({_WAS} IS NULL), "
        f"(SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {table} WHERE {_WAS} IS NULL)), "
        f"count(*) FILTER ({no_key}), coalesce(sum({_NOW}), 0) - coalesce(sum({_WAS}), 0) FROM {table}",
    )
    total = int(only_row(cursor, f"SELECT count(*) FROM ({candidate.sql})")[0])
    # The base has each key once. So has the candidate, if as many of its rows found one there as were found.
    is_unique = total - come == kept.rows - gone and of_keys == come and without == 0
    if not is_unique:
        cursor.execute(f"DROP TABLE {table}")
        return None
    difference = Difference(table, int(rows), int(gone), is_unique=True, is_whole=False)
    content = _content(candidate, total, kept.digest + int(change))
    return Comparison(candidate, content, base, copy, difference, is_kept=True)


def compare_with_lake(
    cursor: duckdb.DuckDBPyConnection, candidate: Candidate, base: Snapshot, wanted: Snapshot
) -> Difference:
    """The difference to the base as it reads back."""
    is_unique = has_own_keys(cursor, candidate, candidate.sql)
    change = change_against(base, candidate, is_unique=is_unique)
    before = base_sql(SnapshotLog.of(Path(wanted.location)), base, change, wanted)
    was_unique = base.change.is_unique if base.change else has_own_keys(cursor, candidate, before)
    sql = _row_difference_sql if is_unique and was_unique else _group_difference_sql
    table = _new_table(cursor, sql(candidate, before))
    no_key = " OR ".join(f"{quote(key)} IS NULL" for key in candidate.join_keys)
    rows, gone, without = only_row(
        cursor,
        f"SELECT count(*), count(*) FILTER (NOT {HERE}), count(*) FILTER ({no_key}) FROM {table}",
    )
    is_whole = int(without) > 0 or not _has_keys(cursor, candidate)
    return Difference(table, int(rows), int(gone), is_unique, is_whole)


def change_against(base: Snapshot, candidate: Candidate, *, is_unique: bool) -> Change:
    """What makes the candidate's snapshot a change against the base; how many rows it stores is not known yet."""
    return Change(
        base=base.snapshot_id,
        depth=depth_of(base) + 1,
        rows=0,
        chain_rows=0,
        join_keys=candidate.join_keys,
        event_time=candidate.event_time,
        is_unique=is_unique,
    )


def depth_of(base: Snapshot) -> int:
    """How many change snapshots its chain has, itself included."""
    return 0 if base.change is None else base.change.depth


def _row_difference_sql(candidate: Candidate, before: str, beside: str = "") -> str:
    """The same where every entity has one row: one join finds it. `beside` are more columns, of `now` and `was`."""
    keys = candidate.join_keys
    on = " AND ".join(f"now.{quote(key)} = was.{quote(key)}" for key in keys)
    columns = [
        f"coalesce(now.{quote(name)}, was.{quote(name)}) AS {quote(name)}"
        if name in keys
        else f"now.{quote(name)}"
        for name in candidate.types
    ]
    types = candidate.types.items()
    # Of keys that are equal 0.0 and -0.0 are two contents all the same.
    compared_by = [(n, kind) for n, kind in types if n not in keys or kind in ("FLOAT", "DOUBLE")]
    same = [_same(name, kind) for name, kind in compared_by]
    # A row that restates its as_of does so in each snapshot: one that comes to do so is stored, with equal values.
    same.append(f"now.{RESTATED} = was.{RESTATED}")
    return (
        f"SELECT {', '.join(columns)}, now.{_SIDE} IS NOT NULL AS {HERE}{beside} "
        f"FROM (SELECT *, 1 AS {_SIDE} FROM ({_now_sql(candidate)})) AS now "
        f"FULL JOIN (SELECT *, 1 AS {_SIDE} FROM ({before})) AS was ON {on} "
        f"WHERE now.{_SIDE} IS NULL OR was.{_SIDE} IS NULL OR NOT ({' AND '.join(same)})"
    )


def _group_difference_sql(candidate: Candidate, before: str) -> str:
    """The rows to store: those of entities that differ, `_featmill_here`; and the keys of those that vanished, not."""
    keys = ", ".join(quote(key) for key in candidate.join_keys)
    listed = _comparable(candidate)
    now = f"SELECT {listed} FROM ({_now_sql(candidate)})"
    then = f"SELECT {listed} FROM ({before})"
    return (
        f"WITH differing AS (SELECT DISTINCT {keys} FROM "
        f"(({now} EXCEPT ALL {then}) UNION ALL ({then} EXCEPT ALL {now}))) "
        f"SELECT *, true AS {HERE} FROM ({candidate.sql}) SEMI JOIN differing USING ({keys}) "
        f"UNION ALL BY NAME SELECT {keys}, false AS {HERE} FROM differing "
        f"ANTI JOIN ({candidate.sql}) USING ({keys})"
    )


def _comparable(candidate: Candidate) -> str:
    """The columns, and beside them what tells values apart that are equal as numbers."""
    listed = []
    for name, kind in candidate.types.items():
        listed.append(quote(name))
        if "FLOAT" in kind or "DOUBLE" in kind:
            listed.append(f"{quote(name)}::VARCHAR AS {quote(f'_featmill_text_{name}')}")
    return ", ".join([*listed, RESTATED])


def _same(name: str, kind: str) -> str:
    """Whether a column's two values are one value: 0.0 and -0.0 are equal numbers and different contents."""
    now, was = f"now.{quote(name)}", f"was.{quote(name)}"
    if kind in ("FLOAT", "DOUBLE"):
        return f"{now} IS NOT DISTINCT FROM {was} AND signbit({now}) IS NOT DISTINCT FROM signbit({was})"
    if "FLOAT" in kind or "DOUBLE" in kind:
        return f"{now}::VARCHAR IS NOT DISTINCT FROM {was}::VARCHAR"
    return f"{now} IS NOT DISTINCT FROM {was}"


def _now_sql(candidate: Candidate) -> str:
    return _marked_sql(candidate, f"({candidate.sql})", candidate.as_of)


def _marked_sql(candidate: Candidate, relation: str, as_of: datetime) -> str:
    """The rows of a snapshot of this as_of, and which of them only restate it."""
    restated = is_restated_sql(candidate.event_time, moment_sql(as_of))
    return f"SELECT *, {restated} AS {RESTATED} FROM {relation}"


def _row_digest(candidate: Candidate, side: str) -> str:
    time = candidate.event_time
    restated = {} if time is None else {time: f"{side}.{RESTATED}"}
    return row_digest_sql(candidate.types, side, restated)


def _content(candidate: Candidate, rows: int, digest: int) -> Content:
    as_of = None if candidate.event_time is None else candidate.as_of
    return Content(tuple(candidate.types), rows, digest, as_of)


def _has_keys(cursor: duckdb.DuckDBPyConnection, candidate: Candidate) -> bool:
    """A row without a key belongs to no entity, so nothing could say that it vanished."""
    missing = " OR ".join(f"{quote(key)} IS NULL" for key in candidate.join_keys)
    sql = f"SELECT count(*) FROM (SELECT 1 FROM ({candidate.sql}) WHERE {missing} LIMIT 1)"
    return bool(only_row(cursor, sql)[0] == 0)


def has_own_keys(cursor: duckdb.DuckDBPyConnection, candidate: Candidate, relation: str) -> bool:
    """Whether each row has keys of its own."""
    keys = ", ".join(quote(key) for key in candidate.join_keys)
    has_keys = " AND ".join(f"{quote(key)} IS NOT NULL" for key in candidate.join_keys)
    sql = (
        f"SELECT (SELECT count(*) FROM ({relation})) = "
        f"(SELECT count(*) FROM (SELECT DISTINCT {keys} FROM ({relation}) WHERE {has_keys}))"
    )
    return bool(only_row(cursor, sql)[0])


def _new_table(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    table = quote(f"featmill_changes_{uuid4().hex}")
    cursor.execute(f"CREATE TEMP TABLE {table} AS {sql}")
    return table
