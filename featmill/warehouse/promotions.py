"""The ledger of promotions: which release was live when, outages and rollbacks included (rule 12, `served`).

One small append-only Delta table. What it says is the only witness of what production answered: a snapshot that was
released for a past moment was never live then.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from featmill import clock
from featmill.errors import LakeError, UsageError
from featmill.warehouse.delta_files import data_files

if TYPE_CHECKING:
    from featmill.warehouse.lake import Lake
    from featmill.warehouse.model import Release

#: `live`: a release went online. `rollback`: an earlier one serves again, as it went online then. `down`: nothing is
#: served from here. `up`: what was live before serves again.
Kind = Literal["live", "rollback", "down", "up"]


@dataclass(frozen=True, slots=True)
class Promotion:
    """One entry. `epoch` grows by one with each; `snapshots` are table -> snapshot id of what serves from now on.

    `read_at` is when the registry was read for it: a snapshot that was released later is not part of what went online.
    """

    promoted_at: datetime
    epoch: int
    kind: Kind
    release_id: str
    snapshots: Mapping[str, str]
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Served:
    """What served from `since` until the next of these; `live` is the entry that put it online, None in an outage."""

    since: datetime
    epoch: int
    live: Promotion | None


def ledger(lake: Lake) -> list[Promotion]:
    """Every entry, oldest first.

    Raises:
        LakeError: the ledger cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    location = _location(lake)
    if not DeltaTable.is_deltatable(str(location)):
        return []
    try:
        # Not as a dataset: that imports pandas, which takes longer than a rollback.
        paths = data_files(DeltaTable(str(location)))
        rows = [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]
    except (DeltaError, pa.ArrowException, OSError) as error:
        raise LakeError(
            f"the ledger of promotions at {location} cannot be read: {error}"
        ) from error
    found = [Promotion(**{**row, "snapshots": json.loads(row["snapshots"])}) for row in rows]
    return sorted(found, key=lambda entry: entry.epoch)


def served(entries: Sequence[Promotion]) -> list[Served]:
    """The ledger as what served when, oldest first."""
    found: list[Served] = []
    live: Promotion | None = None
    for entry in entries:
        if entry.kind == "live":
            live = entry
        elif entry.kind == "rollback":
            went = _went_online(entries, entry)
            # Of a table that is not declared any more nothing was put back.
            live = None if went is None else replace(went, snapshots=entry.snapshots)
        serving = None if entry.kind == "down" else live
        found.append(Served(entry.promoted_at, entry.epoch, serving))
    return found


def record_live(
    lake: Lake,
    release: Release,
    tables: Sequence[str],
    read_at: datetime,
    at: datetime | None = None,
) -> Promotion:
    """Record that a release went online with these tables, from a registry that was read at `read_at`.

    It went online `at`, by default now; never before the entry before it.

    Raises:
        LakeError: the ledger cannot be read or written.
    """
    snapshots = {table: release.snapshots[table] for table in sorted(tables)}
    with _locked(lake):
        return _append(lake, ("live", release.release_id, snapshots, read_at), at)


def record(
    lake: Lake,
    kind: Literal["rollback", "down", "up"],
    release_id: str = "",
    at: datetime | None = None,
    tables: Collection[str] | None = None,
) -> Promotion:
    """Record a rollback to a release that was live before, the begin of an outage, or its end.

    It was so from `at`, by default now; never from before the entry before it. `tables` are those that serve again, by
    default all that did.

    Raises:
        UsageError: nothing is live, the release never was, or the store is not down, so cannot come up again.
        LakeError: the ledger cannot be read or written.
    """
    with _locked(lake):
        entries = ledger(lake)
        again = _served_again(entries, kind, release_id)
        snapshots = {} if kind == "down" else dict(again.snapshots)
        if tables is not None:
            snapshots = {name: snapshots[name] for name in sorted(snapshots) if name in tables}
        return _append(lake, (kind, again.release_id, snapshots, again.read_at), at)


def went_live_before(entries: Sequence[Promotion], current: Promotion) -> Promotion | None:
    """What was live before an entry went live: the newest entry of another release, None where there is none.

    After a rollback that is what was live before the release that was rolled back to, not the one that was left.
    """
    states = [state.live for state in served(entries) if state.epoch < current.epoch]
    other = [live for live in states if live is not None and live.release_id != current.release_id]
    return other[-1] if other else None


def _served_again(entries: Sequence[Promotion], kind: Kind, release_id: str) -> Promotion:
    """The entry that put online what a rollback, an outage or its end is about."""
    states = served(entries)
    if not states:
        raise UsageError("nothing has ever gone live", hint="featmill export puts a release online")
    if kind == "rollback":
        live = [entry for entry in entries if entry.kind == "live"]
        found = [entry for entry in live if entry.release_id == release_id]
        if not found:
            known = ", ".join(dict.fromkeys(entry.release_id for entry in live))
            raise UsageError(f"release {release_id!r} was never live", hint=f"live were: {known}")
        return found[-1]
    if (kind == "up") != (states[-1].live is None):
        raise UsageError(f"the ledger says {kind} already, since epoch {states[-1].epoch}")
    return next(state.live for state in reversed(states) if state.live is not None)


def _went_online(entries: Sequence[Promotion], rollback: Promotion) -> Promotion | None:
    """The entry that put online what a rollback flips back to."""
    before = [
        e
        for e in entries
        if e.kind == "live" and e.release_id == rollback.release_id and e.epoch < rollback.epoch
    ]
    return before[-1] if before else None


def _location(lake: Lake) -> Path:
    return lake.root / "_registry" / "promotions"


@contextmanager
def _locked(lake: Lake) -> Iterator[None]:
    """One writer at a time: an epoch is the last one's plus one."""
    from filelock import FileLock

    location = _location(lake)
    location.mkdir(parents=True, exist_ok=True)
    with FileLock(location.with_name("promotions.lock")):
        yield


def _append(
    lake: Lake, said: tuple[Kind, str, Mapping[str, str], datetime], at: datetime | None
) -> Promotion:
    """Append what is said (kind, release, snapshots, when the registry was read) as the next entry."""
    import pyarrow as pa
    from deltalake import write_deltalake
    from deltalake.exceptions import DeltaError

    kind, release_id, snapshots, read_at = said
    before = ledger(lake)[-1:]
    # The order is that of the epochs, also where a clock stepped back.
    earliest = [entry.promoted_at + timedelta(microseconds=1) for entry in before]
    entry = Promotion(
        promoted_at=max([clock.now() if at is None else at, *earliest]),
        epoch=before[0].epoch + 1 if before else 1,
        kind=kind,
        release_id=release_id,
        snapshots=dict(snapshots),
        read_at=read_at,
    )
    moment = pa.timestamp("us", "UTC")
    row = pa.table(
        {
            "promoted_at": pa.array([entry.promoted_at], moment),
            "epoch": pa.array([entry.epoch], pa.int64()),
            "kind": pa.array([kind], pa.string()),
            "release_id": pa.array([release_id], pa.string()),
            "snapshots": pa.array([json.dumps(entry.snapshots, sort_keys=True)], pa.string()),
            "read_at": pa.array([read_at], moment),
        }
    )
    location = _location(lake)
    try:
        write_deltalake(
            str(location), row, mode="append", configuration={"delta.appendOnly": "true"}
        )
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"the ledger of promotions at {location} could not be written: {error}"
        ) from error
    return entry
