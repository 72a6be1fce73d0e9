"""What a spine can never look up is left out before the join: DuckDB derives none of this from an ASOF join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmill.warehouse.columns import quote
from featmill.warehouse.identity import only_row

if TYPE_CHECKING:
    import duckdb

    from featmill.warehouse.row_statistics import RowStatistics, SnapshotRows

#: A semi-join pays where it drops at least half of the keys: it reads the spine's keys again.
_FEW_KEYS = 0.5
#: A bound on the time pays where it drops at least this share of the rows: all of them are compared with it.
_FEW_ROWS = 0.05


@dataclass(frozen=True, slots=True)
class SpineStatistics:
    """A spine's rows, its earliest and latest moment in microseconds since the epoch (None: none, or infinite ones)."""

    rows: int
    first: int | None
    last: int | None


def spine_statistics(
    connection: duckdb.DuckDBPyConnection, spine: str, time: str
) -> SpineStatistics:
    """Count a spine's rows and find its bounds."""
    moment = f"{quote(time)}::TIMESTAMPTZ"
    finite = "FILTER (WHERE isfinite(moment))"
    sql = (
        f"SELECT count(*), bool_and(isfinite(moment)), epoch_us(min(moment) {finite}), "
        f"epoch_us(max(moment) {finite}) FROM (SELECT {moment} AS moment FROM ({spine}))"
    )
    rows, is_finite, first, last = only_row(connection, sql)
    return SpineStatistics(int(rows), *((first, last) if is_finite else (None, None)))


def distinct_keys(connection: duckdb.DuckDBPyConnection, relation: str, keys: Sequence[str]) -> int:
    """About how many keys a relation has."""
    key = keys[0] if len(keys) == 1 else None
    value = quote(key) if key is not None else f"row({', '.join(quote(k) for k in keys)})"
    return int(only_row(connection, f"SELECT approx_count_distinct({value}) FROM {relation}")[0])


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What the prefilters of one view are decided from. `keys` are those the view has and `asked` the spine's."""

    spine_sql: str
    spine: SpineStatistics
    rows: RowStatistics
    keys: int
    asked: int
    status: bool


def narrowed(view: dict[str, Any], by: Narrowing) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The view over the rows that the spine may find, and what was left out, in words."""
    conditions, told = _time_bounds(view, by)
    semi = ""
    if by.asked < by.keys * _FEW_KEYS:
        keys = ", ".join(quote(key) for key in view["keys"])
        semi = f" SEMI JOIN (SELECT {keys} FROM ({by.spine_sql})) USING ({keys})"
        told.append(f"keys of the spine: about {by.asked:,} of {by.keys:,}")
    if not told:
        return view, ()
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    relation = f"(SELECT * FROM (SELECT * FROM {view['relation']}{where}){semi})"
    return {**view, "relation": relation}, tuple(told)


def _time_bounds(view: dict[str, Any], by: Narrowing) -> tuple[list[str], list[str]]:
    """The spine's latest moment, and what had expired before its earliest (a status tells expired from missing)."""
    conditions: list[str] = []
    told: list[str] = []
    time, spine, rows = quote(view["event_time"]), by.spine, by.rows.snapshots
    if spine.first is None or spine.last is None or not rows:
        return conditions, told
    if _share(rows, spine.last, None) >= _FEW_ROWS:
        conditions.append(f"{time} <= make_timestamptz({spine.last})")
        told.append("time: up to the spine's latest")
    ttl = view["ttl_us"]
    if ttl is None or by.status:
        return conditions, told
    # A value that is carried may be older than the row that carries it, by one more ttl.
    reach = ttl * 2 if any(f["ignore_nulls"] for f in view["features"]) else ttl
    earliest = spine.first - reach
    if _share(rows, None, earliest) >= _FEW_ROWS:
        conditions.append(f"{time} > make_timestamptz({earliest})")
        told.append("time: nothing that had expired by the spine's earliest")
    return conditions, told


def _share(rows: Sequence[SnapshotRows], after: int | None, until: int | None) -> float:
    """About which share of the rows lies after a moment, or until one: as if each snapshot's lay evenly in its time."""
    outside = 0.0
    for one in rows:
        length = one.last - one.first + 1
        apart = one.last - after if after is not None else (until or 0) - one.first + 1
        outside += one.rows * min(max(apart / length, 0.0), 1.0)
    return outside / max(sum(one.rows for one in rows), 1)
