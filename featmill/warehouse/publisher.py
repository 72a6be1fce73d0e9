"""Publishing: from a tested candidate to one immutable snapshot, and from snapshots to a release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from featmill import clock
from featmill.errors import LakeError
from featmill.warehouse import identity
from featmill.warehouse.changes import (
    Storage,
    base_of,
    count_vanished,
    found_changes,
    is_stored,
    min_rows_kept,
    reads_back,
)
from featmill.warehouse.columns import literal, published_expression, quote
from featmill.warehouse.comparison import Candidate, Comparison, compared, keep
from featmill.warehouse.identity import Content, SnapshotIdentity, SourceRelation
from featmill.warehouse.kept_candidates import kept_relation
from featmill.warehouse.lake import PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN, Lake
from featmill.warehouse.model import Snapshot, SourceVersion

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class PublishOrder:
    """One feature table to publish: `sql` selects the candidate's rows in the build database."""

    table: str
    sql: str
    as_of: datetime
    cut_off: datetime
    join_keys: tuple[str, ...]
    tenant: str
    version: str
    fingerprint: str
    sources: tuple[SourceVersion, ...]
    events: str | None = None
    event_time: str | None = None
    storage: Storage = "auto"


def read_sources(
    cursor: duckdb.DuckDBPyConnection, sources: Sequence[SourceRelation], cut_off: datetime
) -> tuple[SourceVersion, ...]:
    """What a build at this cut-off read, source by source, in name order."""
    ordered = sorted(sources, key=lambda source: source.name)
    return tuple(identity.source_version(cursor, source, cut_off) for source in ordered)


def publish(
    cursor: duckdb.DuckDBPyConnection, lake: Lake, order: PublishOrder
) -> tuple[Snapshot, bool]:
    """Append the candidate as a snapshot; `(newest, False)` where the newest of this as_of has the same identity.

    Raises:
        SchemaChanged: a live column changed its type or is gone.
        LakeError: the candidate is empty where others are not, or the lake could not be written; nothing was committed.
    """
    others = lake.snapshots(order.table)
    candidate = _candidate(cursor, order)
    location = lake.location(order.table, order.version, order.tenant)
    base = None if order.storage == "full" else base_of(others, location, candidate)
    copy, min_rows = kept_relation(order.table, location), min_rows_kept(order.storage)
    with compared(cursor, base, candidate, copy, min_rows=min_rows) as comparison:
        earlier = [s for s in others if s.as_of == order.as_of]
        if earlier and _is_same(earlier[-1], lake, order, comparison.content.hash):
            # A run that found a change snapshot unreadable left it in the lake.
            newest = earlier[-1]
            if newest.change is None or reads_back(cursor, candidate, newest):
                return newest, False
        if comparison.content.rows == 0 and any(s.rows > 0 for s in others):
            raise LakeError(
                f"{order.table} has no rows at as_of {order.as_of:%Y-%m-%d %H:%M:%S}, though its other snapshots have",
                hint="an empty snapshot would take every entity offline; "
                "is the as_of before the data, or a source empty?",
            )
        wanted = _snapshot(order, location, comparison.content, earlier)
        lake.require_schema(wanted, _schema(cursor, candidate, wanted))
        published = _append(cursor, lake, comparison, wanted, order.storage)
        keep(cursor, comparison, published)
    return published, True


def _snapshot(
    order: PublishOrder, location: Path, content: Content, earlier: Sequence[Snapshot]
) -> Snapshot:
    """The snapshot to publish; `earlier` are those of its as_of."""
    made = SnapshotIdentity(
        order.as_of, order.cut_off, order.fingerprint, order.sources, content.hash
    )
    return Snapshot(
        table=order.table,
        snapshot_id=made.snapshot_id(ordinal=len(earlier)),
        as_of=order.as_of,
        cut_off=order.cut_off,
        published_at=_later(earlier[-1].published_at if earlier else None),
        fingerprint=order.fingerprint,
        sources=order.sources,
        rows=content.rows,
        content_hash=content.hash,
        location=str(location),
        delta_version=-1,
        events=order.events,
    )


def _append(
    cursor: duckdb.DuckDBPyConnection,
    lake: Lake,
    comparison: Comparison,
    wanted: Snapshot,
    storage: Storage,
) -> Snapshot:
    """Write the snapshot, as changes where that can be and pays."""
    candidate = comparison.candidate
    changes = found_changes(cursor, comparison, wanted, storage)
    if changes is None:
        snapshot = replace(wanted, vanished=count_vanished(cursor, lake, candidate, wanted))
        return lake.append(_rows(cursor, candidate, snapshot), snapshot)
    published = lake.append(changes.reader, changes.snapshot)
    if is_stored(cursor, changes, published):
        return published
    # The next build will find that it does not read back as its candidate, and publish anew.
    raise LakeError(
        f"{published.table}: snapshot {published.snapshot_id} does not read back as it was written",
        hint=f"it is not released; mend the disk that holds {published.location} and build again",
    )


def _later(than: datetime | None) -> datetime:
    """Now, or just after `than`: a correction is later than what it corrects (rule 9), even if the clock went back."""
    now = clock.now()
    return now if than is None else max(now, than + timedelta(microseconds=1))


def _is_same(newest: Snapshot, lake: Lake, order: PublishOrder, content: str) -> bool:
    """The same definition over the same sources (rule 19), with the same rows in the same place.

    One definition over one source gives one content. Where it does not, because something it reads is not declared,
    readers get the rows that were tested, as a correction.
    """
    read_then = [(s.source, s.rows, s.digest) for s in newest.sources]
    read_now = [(s.source, s.rows, s.digest) for s in order.sources]
    same_definition = newest.fingerprint == order.fingerprint and read_then == read_now
    location = str(lake.location(order.table, order.version, order.tenant))
    same_place = newest.location == location and _generation(newest.events) == _generation(
        order.events
    )
    return same_definition and newest.content_hash == content and same_place


def _generation(events: str | None) -> str | None:
    """The event log that a snapshot stands on, however far that reaches by now."""
    return None if events is None else events.partition("@")[0]


def _candidate(cursor: duckdb.DuckDBPyConnection, order: PublishOrder) -> Candidate:
    """The candidate as it is published."""
    types = {str(row[0]): str(row[1]) for row in cursor.execute(f"DESCRIBE {order.sql}").fetchall()}
    columns = ", ".join(published_expression(name, kind) for name, kind in types.items())
    sql = f"SELECT {columns} FROM ({order.sql})"
    described = cursor.execute(f"DESCRIBE {sql}").fetchall()
    published = {str(row[0]): str(row[1]) for row in described}
    return Candidate(sql, published, order.join_keys, _restated(order, published), order.as_of)


def _restated(order: PublishOrder, published: dict[str, str]) -> str | None:
    """The event time, if it is a moment that an as_of can equal."""
    kind = published.get(order.event_time or "")
    return order.event_time if kind == "TIMESTAMP WITH TIME ZONE" else None


def _rows(
    cursor: duckdb.DuckDBPyConnection, candidate: Candidate, snapshot: Snapshot
) -> pa.RecordBatchReader:
    """The candidate's rows as they are published, in key order: readers' range scans and exports want it so."""
    keys = ", ".join(quote(key) for key in candidate.join_keys)
    sql = f"{_full_sql(candidate, snapshot)} ORDER BY {keys}"
    return cursor.sql(sql).to_arrow_reader(_BATCH_ROWS)


def _schema(
    cursor: duckdb.DuckDBPyConnection, candidate: Candidate, snapshot: Snapshot
) -> pa.Schema:
    return cursor.sql(f"{_full_sql(candidate, snapshot)} LIMIT 0").to_arrow_table().schema


def _full_sql(candidate: Candidate, snapshot: Snapshot) -> str:
    moment = snapshot.published_at.isoformat(sep=" ")
    return (
        f"SELECT *, TIMESTAMPTZ {literal(moment)} AS {PUBLISHED_AT_COLUMN}, "
        f"{literal(snapshot.snapshot_id)} AS {SNAPSHOT_COLUMN} FROM ({candidate.sql})"
    )
