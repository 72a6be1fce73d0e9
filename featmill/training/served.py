"""What production would have answered at t (rule 12, `as_of=served`): the ledger's snapshots, not the newest.

At t served what the ledger says was live at t: of each entity one row, the newest of the live snapshot and of those
before it within reach, as the registry stood when it went online. That row is found at t if t is before its ttl's end.
So a correction counts from when it went online, a backfill never, and in an outage nothing is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from featmill.errors import NoRelease
from featmill.training.request import Epoch
from featmill.training.spine import MOMENT
from featmill.training.templates import feature_rows_sql
from featmill.training.views import view_of
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.lake import SNAPSHOT_COLUMN
from featmill.warehouse.promotions import Promotion, ledger, served

if TYPE_CHECKING:
    import duckdb

    from featmill.contract.catalog import FeatureTable
    from featmill.training.spine import Spine
    from featmill.warehouse.model import Snapshot
    from featmill.warehouse.registry import Registry

#: The column that carries each row's epoch to the join; never part of the answer.
EPOCH = "_featmill_epoch"


def reach(table: FeatureTable) -> timedelta | None:
    """How far back a row can lie that decides a value; None where it can lie anywhere.

    The oldest row that serves is almost a ttl old, and what it carries was almost a ttl old when it began (rule 14).
    """
    if table.ttl is None:
        return None
    carries = any(feature.ignore_nulls for feature in table.features)
    return table.ttl * 2 if carries else table.ttl


def history(
    table: FeatureTable, snapshot: Snapshot, released: Sequence[Snapshot]
) -> list[Snapshot]:
    """The earlier snapshots that can matter online: a row is never valid from after its own snapshot's as_of."""
    within = reach(table)
    return [
        earlier
        for earlier in released
        if earlier.location == snapshot.location
        and earlier.as_of < snapshot.as_of
        and (within is None or snapshot.as_of - earlier.as_of < within)
    ]


def epochs(registry: Registry, tables: Sequence[FeatureTable]) -> tuple[Epoch, ...]:
    """The ledger as epochs, with the snapshots of these tables that served in each.

    Raises:
        NoRelease: nothing, or one of the tables never, went live: there is nothing it could have answered.
    """
    entries = ledger(registry.lake)
    live = {name for entry in entries for name in entry.snapshots}
    never = [table.name for table in tables if table.name not in live]
    if never:
        raise NoRelease(
            f"{', '.join(never)} never went live, so nothing of it was ever served (rule 12)",
            hint="featmill export puts a release online and records it; --as-of event reads what is released",
        )
    known: dict[int, dict[str, tuple[str, ...]]] = {}
    found = []
    for state in served(entries):
        members: dict[str, tuple[str, ...]] = {}
        if state.live is not None:
            epoch = state.live.epoch
            if epoch not in known:
                known[epoch] = _members(registry, tables, state.live)
            members = known[epoch]
        release = "" if state.live is None else state.live.release_id
        found.append(Epoch(state.epoch, state.since, release, members))
    return tuple(found)


def _members(
    registry: Registry, tables: Sequence[FeatureTable], live: Promotion
) -> dict[str, tuple[str, ...]]:
    found = {}
    for table in tables:
        if table.name not in live.snapshots:
            continue
        snapshot = registry.lake.snapshot(table.name, live.snapshots[table.name])
        released = registry.released_snapshots(table.name, at=live.read_at)
        before = history(table, snapshot, released)
        found[table.name] = tuple(s.snapshot_id for s in [*before, snapshot])
    return found


def with_epochs(spine: Spine, known: Sequence[Epoch]) -> Spine:
    """The spine with each row's epoch, in its order; NULL before the first."""
    listed = ", ".join(
        f"(TIMESTAMPTZ {literal(epoch.since.isoformat(sep=' '))}, {epoch.number})"
        for epoch in known
    )
    # A join loses the order of its rows, which is the spine's (rule 15).
    sql = (
        f"SELECT * EXCLUDE (_featmill_given) FROM (SELECT given.*, ledger.{EPOCH} FROM "
        f"(SELECT *, row_number() OVER () AS _featmill_given FROM ({spine.sql})) AS given "
        f"ASOF LEFT JOIN (VALUES {listed}) AS ledger(since, {EPOCH}) ON given.{MOMENT} >= ledger.since) "
        "ORDER BY _featmill_given"
    )
    return replace(spine, sql=sql)


def served_view(
    connection: duckdb.DuckDBPyConnection,
    table: FeatureTable,
    snapshots: Mapping[str, Snapshot],
    known: Iterable[Epoch],
    spine: Spine,
) -> dict[str, Any]:
    """The view of what each epoch served: one row per epoch and entity, with the epoch as one more key."""
    reached = connection.execute(f"SELECT DISTINCT {EPOCH} FROM ({spine.sql})").fetchall()
    wanted = {row[0] for row in reached}
    members = [
        (epoch.number, snapshots[members[-1]].as_of, snapshot_id)
        for epoch in known
        if epoch.number in wanted and (members := epoch.snapshots.get(table.name))
        for snapshot_id in members
    ]
    used = {snapshot_id for _, _, snapshot_id in members}
    read = [snapshots[snapshot_id] for snapshot_id in sorted(used)] or list(snapshots.values())[:1]
    view = view_of(table, table.features, read)
    keys = [*view["keys"], EPOCH]
    listed = ", ".join(
        f"({number}, TIMESTAMPTZ {literal(as_of.isoformat(sep=' '))}, {literal(snapshot_id)})"
        for number, as_of, snapshot_id in members
    )
    # Only the entities that the spine asks an epoch for: each epoch holds the whole table.
    asked = f"SELECT DISTINCT {', '.join(keys)} FROM ({spine.sql}) WHERE {EPOCH} IS NOT NULL"
    listed = listed or "(NULL::BIGINT, NULL::TIMESTAMPTZ, NULL::VARCHAR)"
    candidates = (
        f"(SELECT held.*, member.{EPOCH}, member._featmill_as_of FROM {view['relation']} AS held "
        f"JOIN (VALUES {listed}) AS member({EPOCH}, _featmill_as_of, {SNAPSHOT_COLUMN}) "
        f"USING ({SNAPSHOT_COLUMN}) SEMI JOIN ({asked}) USING ({', '.join(keys)}) "
        f"WHERE held.{quote(table.event_time)} <= member._featmill_as_of)"
    )
    rows = feature_rows_sql({**view, "relation": candidates, "keys": [*keys, "_featmill_as_of"]})
    time = view["event_time"]
    alive = "true"
    if view["ttl_us"] is not None:
        alive = f"{time} + to_microseconds({view['ttl_us']}) > _featmill_as_of"
    relation = (
        f"(SELECT *, {time} AS published_at, '' AS {SNAPSHOT_COLUMN} FROM ({rows}) WHERE {alive} "
        f"QUALIFY row_number() OVER (PARTITION BY {', '.join(keys)} ORDER BY {time} DESC) = 1)"
    )
    plain = [{**feature, "ignore_nulls": False} for feature in view["features"]]
    del view["snapshots"]
    return {**view, "relation": relation, "keys": keys, "features": plain}
