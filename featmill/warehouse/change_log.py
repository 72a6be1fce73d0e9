"""Change snapshots, read: a snapshot that holds only what changed against its base, expanded to all of its rows.

A chain begins with a full snapshot. Each change snapshot after it holds, for every entity whose rows differ from its
base's, all of the entity's rows; and for an entity that vanished one tombstone, a row without `published_at`. So of an
entity a snapshot has what the newest link of its chain says of it, up to the snapshot itself. Until when a stored row
holds is worked out here and stored nowhere: what is published is never rewritten (rule 9).

A row that is valid from its snapshot's as_of (every window's is) is restated by each snapshot with its own as_of, and
so are `published_at` and the snapshot's id. A row that is valid from another moment keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from featmill.errors import LakeError
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.delta_files import empty_relation_sql
from featmill.warehouse.model import Change, Snapshot
from featmill.warehouse.snapshot_log import PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN, SnapshotLog

#: A chain is at most this long, its full snapshot not counted: a read opens as many files more.
MAX_CHAIN = 30

_POSITION = "_featmill_position"
_MADE_AT = "_featmill_made_at"
_UNTIL = "_featmill_until"
#: Beside the rows that are compared: whether a row only restates the as_of.
RESTATED = "_featmill_restated"


def chain(log: SnapshotLog, snapshot: Snapshot) -> list[Snapshot]:
    """What a snapshot's rows are made of: its full snapshot first, itself last.

    Raises:
        LakeError: a link is not in the table's log.
    """
    links = [snapshot]
    while (change := links[-1].change) is not None:
        base = log.snapshots.get(change.base)
        if base is None or len(links) > MAX_CHAIN:
            raise LakeError(
                f"{snapshot.table}: the base {change.base} of snapshot {links[-1].snapshot_id} is gone",
                hint="restore the table's log",
            )
        links.append(base)
    return links[::-1]


def expanded_sql(log: SnapshotLog, wanted: Sequence[Snapshot]) -> tuple[list[str], set[str]]:
    """`SELECT`s over the rows of these change snapshots of one table, and the ids that they cover.

    Snapshots of one chain share one `SELECT`, whose cost is that of its output: each stored row is repeated for the
    snapshots it holds in. A full snapshot of `wanted` that a chain begins with is covered on the way.
    """
    ids = {snapshot.snapshot_id for snapshot in wanted}
    changes = [snapshot for snapshot in wanted if snapshot.change is not None]
    covered: set[str] = set()
    selects = []
    for tip in sorted(changes, key=_depth, reverse=True):
        if tip.snapshot_id in covered:
            continue
        links = chain(log, tip)
        read = {s.snapshot_id for s in links if s.snapshot_id in ids - covered}
        covered |= read
        if read == {tip.snapshot_id}:
            change = _change(tip)
            body = _tip(log, tip, change)
            selects.append(_restated_sql(body, change.event_time, _constants(tip)))
        else:
            selects.append(_line_sql(log, links, read))
    return selects, covered


def stored_sql(snapshot: Snapshot) -> str:
    """The rows that a snapshot's files hold, tombstones included."""
    log = SnapshotLog.of(Path(snapshot.location))
    if not _has_files(log, [snapshot]):
        return empty_relation_sql(log.schema())
    return f"SELECT * FROM {_files_sql(log, [snapshot])}"


def base_sql(log: SnapshotLog, base: Snapshot, change: Change, made: Snapshot) -> str:
    """The rows of a snapshot as `made` would restate them, and which of them it would (`RESTATED`), to compare them.

    Of two rows with one event time one may be valid from its as_of, the other from a moment that came to be one.
    """
    return _restated_sql(
        _tip(log, base, change),
        change.event_time,
        _constants(made),
        beside=f", {is_restated_sql(change.event_time, _MADE_AT)} AS {RESTATED}",
    )


def is_restated_sql(event_time: str | None, as_of: str) -> str:
    """SQL for whether a row is valid from its snapshot's as_of, which each later snapshot restates with its own."""
    return "false" if event_time is None else f"coalesce({quote(event_time)} = {as_of}, false)"


def _tip(log: SnapshotLog, snapshot: Snapshot, change: Change) -> str:
    """The rows of one snapshot as stored. Only changes are sorted: of the full one's, read once, some are left out."""
    links = chain(log, snapshot)
    full = f"SELECT *, {moment_sql(links[0].as_of)} AS {_MADE_AT} FROM {_files_sql(log, links[:1])}"
    if not _has_files(log, links[1:]):
        return f"({full})"
    keys = _keys(change)
    return (
        f"(WITH {_changes_cte(log, links)}, "
        f"newest AS (SELECT {keys}, max({_POSITION}) AS {_POSITION} FROM changes GROUP BY {keys}) "
        f"SELECT * FROM ({full}) ANTI JOIN newest USING ({keys}) "
        f"UNION ALL BY NAME SELECT * EXCLUDE ({_POSITION}) FROM "
        f"(SELECT * FROM changes SEMI JOIN newest USING ({keys}, {_POSITION})) "
        f"WHERE {PUBLISHED_AT_COLUMN} IS NOT NULL)"
    )


def _line_sql(log: SnapshotLog, links: Sequence[Snapshot], read: set[str]) -> str:
    """The rows of several snapshots of one chain: each stored row once for every snapshot it holds in."""
    change = _change(links[-1])
    keys = _keys(change)
    until = (
        f"min({_POSITION}) OVER (PARTITION BY {keys} ORDER BY {_POSITION} RANGE BETWEEN 1 FOLLOWING"
    )
    wanted = ", ".join(
        f"({position}, {literal(s.snapshot_id)}, {moment_sql(s.published_at)}, {moment_sql(s.as_of)})"
        for position, s in enumerate(links)
        if s.snapshot_id in read
    )
    body = (
        f"(WITH {_changes_cte(log, links)}, "
        f"first_changes AS (SELECT {keys}, min({_POSITION}) AS {_UNTIL} FROM changes GROUP BY {keys}), "
        f"stored AS (SELECT *, 0 AS {_POSITION}, {moment_sql(links[0].as_of)} AS {_MADE_AT} "
        f"FROM {_files_sql(log, links[:1])} LEFT JOIN first_changes USING ({keys}) "
        f"UNION ALL BY NAME SELECT *, {until} AND UNBOUNDED FOLLOWING) AS {_UNTIL} FROM changes), "
        f"held AS (SELECT * EXCLUDE ({_POSITION}, {_UNTIL}), "
        f"unnest(range({_POSITION}, coalesce({_UNTIL}, {len(links)}))) AS {_POSITION} "
        f"FROM stored WHERE {PUBLISHED_AT_COLUMN} IS NOT NULL) "
        f"SELECT * FROM held JOIN (VALUES {wanted}) "
        f"AS asked({_POSITION}, _featmill_id, _featmill_published_at, _featmill_as_of) USING ({_POSITION}))"
    )
    asked = ("_featmill_id", "_featmill_published_at", "_featmill_as_of")
    return _restated_sql(
        body, change.event_time, asked, exclude=f", {_POSITION}, {', '.join(asked)}"
    )


def _changes_cte(log: SnapshotLog, links: Sequence[Snapshot]) -> str:
    """`changes`: the rows of the change snapshots, with their position in the chain and their snapshot's as_of."""
    listed = ", ".join(
        f"({literal(s.snapshot_id)}, {position}, {moment_sql(s.as_of)})"
        for position, s in enumerate(links)
        if position > 0
    )
    if not _has_files(log, links[1:]):
        return (
            f"changes AS (SELECT *, 0 AS {_POSITION}, {moment_sql(links[0].as_of)} AS {_MADE_AT} "
            f"FROM {_files_sql(log, links[:1])} WHERE false)"
        )
    return (
        f"changes AS MATERIALIZED (SELECT * FROM {_files_sql(log, links[1:])} JOIN (VALUES {listed}) "
        f"AS links({SNAPSHOT_COLUMN}, {_POSITION}, {_MADE_AT}) USING ({SNAPSHOT_COLUMN}))"
    )


def _restated_sql(
    relation: str,
    event_time: str | None,
    asked: tuple[str, str, str],
    *,
    exclude: str = "",
    beside: str = "",
) -> str:
    """The relation's rows as rows of a snapshot, by the SQL of its id, published_at and as_of."""
    snapshot_id, published_at, as_of = asked
    replaced = [
        f"{snapshot_id} AS {SNAPSHOT_COLUMN}",
        f"{published_at} AS {PUBLISHED_AT_COLUMN}",
    ]
    if event_time is not None:
        name = quote(event_time)
        replaced.append(f"CASE WHEN {name} = {_MADE_AT} THEN {as_of} ELSE {name} END AS {name}")
    return f"SELECT * EXCLUDE ({_MADE_AT}{exclude}) REPLACE ({', '.join(replaced)}){beside} FROM {relation}"


def _files_sql(log: SnapshotLog, links: Sequence[Snapshot]) -> str:
    paths = [path for s in links for path in log.files(s.snapshot_id)]
    listed = ", ".join(literal(path) for path in paths)
    return f"read_parquet([{listed}], hive_partitioning=true, hive_types={{'{SNAPSHOT_COLUMN}': VARCHAR}})"


def _has_files(log: SnapshotLog, links: Sequence[Snapshot]) -> bool:
    return any(log.files(s.snapshot_id) for s in links)


def _depth(snapshot: Snapshot) -> int:
    return 0 if snapshot.change is None else snapshot.change.depth


def _change(snapshot: Snapshot) -> Change:
    if snapshot.change is None:
        raise LakeError(f"{snapshot.table}: snapshot {snapshot.snapshot_id} is a full one")
    return snapshot.change


def _keys(change: Change) -> str:
    return ", ".join(quote(key) for key in change.join_keys)


def _constants(snapshot: Snapshot) -> tuple[str, str, str]:
    return (
        literal(snapshot.snapshot_id),
        moment_sql(snapshot.published_at),
        moment_sql(snapshot.as_of),
    )


def moment_sql(moment: datetime) -> str:
    """The moment as SQL."""
    return f"TIMESTAMPTZ {literal(moment.isoformat(sep=' '))}"
