"""The interval ledger: which (feature table, as_of) are complete, under the definition and the sources of now (rule 9).

It is derived, not kept: what is complete stands in the registry of releases, with the fingerprint and the cut-off in
each snapshot's identity. The cut-off is the bookmark on `ingested_at`: what arrived behind it and happened before
as_of makes the interval late. Only a failed attempt leaves nothing in the lake, so it leaves a note
(`featmill.warehouse.attempts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from featmill.warehouse.columns import literal
from featmill.warehouse.project_graph import ancestors

if TYPE_CHECKING:
    import duckdb
    from dbt.contracts.graph.manifest import Manifest

    from featmill.warehouse.attempts import Attempt
    from featmill.warehouse.model import Snapshot
    from featmill.warehouse.registry import Registry


class State(StrEnum):
    """What an interval is."""

    COMPLETE = "complete"
    LATE = "late"
    """Complete under this definition; rows that it would hold arrived since."""
    STALE = "stale"
    """Released under another definition."""
    MISSING = "missing"
    FAILED = "failed"
    """Not released: a test or a model of this table failed."""
    BLOCKED = "blocked"
    """Not released: another table failed at this as_of."""
    EXPIRED = "expired"
    """Released once; retention removed it."""


@dataclass(frozen=True, slots=True)
class TimedSource:
    """A source whose rows carry when they were ingested. The columns are SQL expressions; `event_at` may be unknown."""

    name: str
    relation: str
    ingested_at: str
    event_at: str | None


@dataclass(frozen=True, slots=True)
class Definition:
    """A published table as the project defines it now."""

    table: str
    fingerprint: str
    sources: tuple[TimedSource, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """One feature table at one as_of. `snapshot` is what is released there, if anything."""

    table: str
    as_of: datetime
    state: State
    because: str = ""
    snapshot: Snapshot | None = None
    late_rows: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What besides the registry decides a state: rows that arrived late, attempts that came to nothing, retention.

    `expired` is (table, as_of) -> when retention removed a snapshot of it.
    """

    late: Mapping[tuple[str, datetime], int] = field(default_factory=dict)
    attempts: Mapping[datetime, Attempt] = field(default_factory=dict)
    expired: Mapping[tuple[str, datetime], datetime] = field(default_factory=dict)


def released_at(registry: Registry, tables: Iterable[str]) -> dict[str, dict[datetime, Snapshot]]:
    """Per table, the released snapshot of each as_of."""
    return {
        table: {snapshot.as_of: snapshot for snapshot in registry.released_snapshots(table)}
        for table in tables
    }


def expired_at(registry: Registry, tables: Iterable[str]) -> dict[tuple[str, datetime], datetime]:
    """Which as_ofs of which tables retention took a snapshot of, and when; another may stand there now."""
    return {
        (table, datetime.fromisoformat(snapshot_id.partition("-")[0])): at
        for table in tables
        for snapshot_id, at in registry.lake.expired(table).items()
    }


def ledger(
    definitions: Sequence[Definition],
    as_ofs: Sequence[datetime],
    released: Mapping[str, Mapping[datetime, Snapshot]],
    known: Known,
) -> list[Interval]:
    """The state of every table at every as_of, table by table, in the order of `as_ofs`."""
    return [
        _interval(definition, as_of, released.get(definition.table, {}).get(as_of), known)
        for definition in definitions
        for as_of in as_ofs
    ]


def _interval(
    definition: Definition, as_of: datetime, snapshot: Snapshot | None, known: Known
) -> Interval:
    table, attempt = definition.table, known.attempts.get(as_of)
    if attempt is not None and (snapshot is None or snapshot.fingerprint != definition.fingerprint):
        why = attempt.failed.get(table)
        if why is not None:
            return Interval(table, as_of, State.FAILED, why, snapshot)
        others = ", ".join(sorted(attempt.failed))
        return Interval(table, as_of, State.BLOCKED, f"{others} failed", snapshot)
    if snapshot is None:
        gone = known.expired.get((table, as_of))
        if gone is None:
            return Interval(table, as_of, State.MISSING)
        return Interval(table, as_of, State.EXPIRED, f"retention removed it on {gone:%Y-%m-%d}")
    if snapshot.fingerprint != definition.fingerprint:
        return Interval(table, as_of, State.STALE, "the definition changed", snapshot)
    rows = known.late.get((table, as_of), 0)
    if rows > 0:
        because = f"{rows:,} rows arrived after its cut-off"
        return Interval(table, as_of, State.LATE, because, snapshot, rows)
    return Interval(table, as_of, State.COMPLETE, "", snapshot)


def timed_sources(manifest: Manifest, unique_id: str) -> tuple[TimedSource, ...]:
    """The sources a node descends from that declare dbt's `loaded_at_field`, by name."""
    found = [manifest.sources[u] for u in ancestors(manifest, unique_id) if u in manifest.sources]
    timed = [
        TimedSource(
            f"{source.source_name}.{source.name}",
            str(source.relation_name),
            source.loaded_at_field,
            source.config.event_time,
        )
        for source in found
        if source.loaded_at_field
    ]
    return tuple(sorted(timed, key=lambda source: source.name))


def late_rows(
    cursor: duckdb.DuckDBPyConnection,
    definitions: Sequence[Definition],
    released: Mapping[str, Mapping[datetime, Snapshot]],
) -> dict[tuple[str, datetime], int]:
    """How many rows of its sources a snapshot would hold by now: before its as_of, ingested after its cut-off.

    An event that is older than every window of a table counts too: it may be the first of its entity, which then has a
    row (rule 20). One query for each table and source, over all snapshots. Where a source declares no `event_time`,
    every row that arrived counts. Intervals without such rows are left out.
    """
    found: dict[tuple[str, datetime], int] = {}
    for definition in definitions:
        snapshots = list(released.get(definition.table, {}).values())
        for source in definition.sources if snapshots else ():
            rows = cursor.execute(_late_sql(source, snapshots)).fetchall()
            for as_of, count in rows:
                key = (definition.table, as_of.replace(tzinfo=UTC))
                found[key] = found.get(key, 0) + count
    return found


def _late_sql(source: TimedSource, snapshots: Sequence[Snapshot]) -> str:
    intervals = ", ".join(f"({_moment(s.as_of)}, {_moment(s.cut_off)})" for s in snapshots)
    ingested_at = _utc(source.ingested_at)
    event_at = "NULL" if source.event_at is None else _utc(source.event_at)
    return f"""
        WITH snapshot (as_of, cut_off) AS (VALUES {intervals}),
        arrived AS (
            SELECT {ingested_at} AS arrived_at, coalesce({event_at}, TIMESTAMP '-infinity') AS happened_at
            FROM {source.relation}
            WHERE {ingested_at} > (SELECT min(cut_off) FROM snapshot)
        )
        SELECT as_of, count(*)
        FROM snapshot
        JOIN arrived ON arrived_at > cut_off AND happened_at < as_of
        GROUP BY as_of
    """


def _utc(expression: str) -> str:
    """As the cut-off of a build is applied: through TIMESTAMPTZ, since a text may carry its own offset."""
    return f"timezone('UTC', try_cast({expression} AS TIMESTAMPTZ))"


def _moment(moment: datetime) -> str:
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
    return f"TIMESTAMP {literal(text)}"
