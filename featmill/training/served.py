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
    from datetime import datetime

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
    members = _members_sql(table, snapshots, [epoch for epoch in known if epoch.number in wanted])
    used = {
        name
        for epoch in known
        if epoch.number in wanted
        for name in epoch.snapshots.get(table.name, ())
    }
    read = [snapshots[name] for name in sorted(used)] or list(snapshots.values())[:1]
    view = view_of(table, table.features, read)
    keys = [*view["keys"], EPOCH]
    candidates = _candidates_sql(view, keys, members, spine)
    rows = feature_rows_sql({**view, "relation": candidates, "keys": [*keys, "_featmill_as_of"]})
    time = quote(view["event_time"])
    alive = "true"
    if view["ttl_us"] is not None:
        alive = f"{time} + to_microseconds({view['ttl_us']}) > _featmill_as_of"
    relation = (
        f"(SELECT *, {time} AS published_at, '' AS {SNAPSHOT_COLUMN} FROM ({rows}) WHERE {alive} "
        f"QUALIFY row_number() OVER (PARTITION BY {', '.join(map(quote, keys))} ORDER BY {time} DESC) = 1)"
    )
    plain = [{**feature, "ignore_nulls": False} for feature in view["features"]]
    del view["snapshots"]
    return {**view, "relation": relation, "keys": keys, "features": plain}


def _members_sql(
    table: FeatureTable, snapshots: Mapping[str, Snapshot], known: Iterable[Epoch]
) -> str:
    """The snapshots of each epoch as SQL: the epoch, the live snapshot's as_of, the snapshot, its as_of, is it live."""
    rows = []
    for epoch in known:
        names = epoch.snapshots.get(table.name, ())
        for name in names:
            live, own = (_moment(snapshots[one].as_of) for one in (names[-1], name))
            is_live = "true" if name == names[-1] else "false"
            rows.append(f"({epoch.number}, {live}, {literal(name)}, {own}, {is_live})")
    nothing = "(NULL::BIGINT, NULL::TIMESTAMPTZ, NULL::VARCHAR, NULL::TIMESTAMPTZ, NULL::BOOLEAN)"
    return (
        f"(VALUES {', '.join(rows) or nothing}) "
        f"AS member({EPOCH}, _featmill_as_of, {SNAPSHOT_COLUMN}, _featmill_own_as_of, _featmill_is_live)"
    )


def _candidates_sql(
    view: Mapping[str, Any], keys: Sequence[str], members: str, spine: Spine
) -> str:
    """The rows that can have served the entities that the spine asks for, each with its epoch.

    What the live snapshot lacks is gone from its as_of on (rules 11 and 20), whatever earlier ones hold. Of what it
    holds, a row of an earlier snapshot can only be newer where that snapshot is not older than the row, or carried.
    """
    time, relation = quote(view["event_time"]), view["relation"]
    listed, own_keys = (", ".join(map(quote, names)) for names in (keys, keys[:-1]))
    may_be_newer = (
        "_featmill_is_live OR _featmill_newest IS NULL OR _featmill_own_as_of >= _featmill_newest"
    )
    if any(feature["ignore_nulls"] for feature in view["features"]):
        may_be_newer = "true"
    return (
        f"(WITH asked AS (SELECT DISTINCT {listed} FROM ({spine.sql}) WHERE {EPOCH} IS NOT NULL), "
        f"own AS (SELECT {listed}, max({time}) FILTER ({time} <= _featmill_as_of) AS _featmill_newest "
        f"FROM asked JOIN (SELECT * FROM {members} WHERE _featmill_is_live) USING ({EPOCH}) "
        f"JOIN {relation} AS held USING ({SNAPSHOT_COLUMN}, {own_keys}) GROUP BY ALL), "
        f"wanted AS (SELECT {listed}, _featmill_as_of, {SNAPSHOT_COLUMN} "
        f"FROM own JOIN {members} USING ({EPOCH}) WHERE {may_be_newer}) "
        f"SELECT held.*, wanted.{EPOCH}, wanted._featmill_as_of FROM wanted "
        f"JOIN {relation} AS held USING ({SNAPSHOT_COLUMN}, {own_keys}) "
        f"WHERE held.{time} <= wanted._featmill_as_of)"
    )


def _moment(moment: datetime) -> str:
    return f"TIMESTAMPTZ {literal(moment.isoformat(sep=' '))}"
