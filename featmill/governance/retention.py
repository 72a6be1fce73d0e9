"""Retention: which snapshots may be removed, and why each of the others stays.

Age is counted back from the newest release's as_of, not from the clock (rule 2): a project that was not built for a
year loses nothing by being looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from featmill import clock
from featmill.warehouse.maintenance import drop_snapshots
from featmill.warehouse.promotions import ledger, served, went_live_before
from featmill.warehouse.training_pins import pins

if TYPE_CHECKING:
    from featmill.warehouse.model import Snapshot
    from featmill.warehouse.promotions import Promotion
    from featmill.warehouse.registry import Registry


@dataclass(frozen=True, slots=True)
class Decision:
    """One snapshot and why it stays; without a reason it expires."""

    snapshot: Snapshot
    keeps: tuple[str, ...]


def decide(registry: Registry, older_than: timedelta, keep_last: int) -> list[Decision]:
    """Judge every snapshot, by table and then oldest as_of first.

    It stays if it is not older than `older_than`, of one of the `keep_last` newest as_ofs of its table, in the newest
    release, online or what a rollback would bring online, named by a training set's manifest, or what a snapshot that
    stays is stored as changes of.

    Raises:
        NoRelease: nothing has been released yet.
        LakeError: the registry, the ledger or a training set's pin cannot be read.
    """
    oldest = registry.newest().as_of - older_than
    named = _named(registry)
    decisions = []
    for table in registry.lake.tables():
        snapshots = registry.lake.snapshots(table)
        newest = sorted({s.as_of for s in snapshots})[-keep_last:] if keep_last else []
        reasons = {
            s.snapshot_id: [
                *(["young"] if s.as_of >= oldest else []),
                *(["newest"] if s.as_of in newest else []),
                *named.get((table, s.snapshot_id), []),
            ]
            for s in snapshots
        }
        _keep_bases(snapshots, reasons)
        ordered = sorted(snapshots, key=lambda s: (s.as_of, s.published_at))
        decisions += [Decision(s, tuple(reasons[s.snapshot_id])) for s in ordered]
    return decisions


def expire(decisions: Iterable[Decision]) -> int:
    """Remove the snapshots without a reason to stay; the bytes that were freed.

    Raises:
        LakeError: a table could not be rewritten; a snapshot is there as a whole or not at all.
    """
    by_location: dict[str, list[str]] = {}
    for decision in decisions:
        if not decision.keeps:
            snapshot = decision.snapshot
            by_location.setdefault(snapshot.location, []).append(snapshot.snapshot_id)
    now = clock.now()
    return sum(
        drop_snapshots(Path(location), ids, now) for location, ids in sorted(by_location.items())
    )


def _named(registry: Registry) -> Mapping[tuple[str, str], list[str]]:
    """What names a snapshot: (table, id) -> reasons."""
    named: dict[tuple[str, str], list[str]] = {}

    def name(snapshots: Mapping[str, str], reason: str) -> None:
        for key in snapshots.items():
            named.setdefault(key, []).append(reason)

    name(registry.newest().snapshots, "newest release")
    for reason, since in _online(registry):
        name(since, reason)
    for one in pins(registry.lake):
        for table, ids in one.snapshots.items():
            for snapshot_id in ids:
                named.setdefault((table, snapshot_id), []).append(f"training set {one.manifest}")
    return named


def _online(registry: Registry) -> list[tuple[str, Mapping[str, str]]]:
    """What is online, and the one before it that a rollback would bring back."""
    entries = ledger(registry.lake)
    live = [state.live for state in served(entries) if state.live is not None]
    different = [one for one, after in pairwise([*live, None]) if _is_other(one, after)]
    names = ("online", "a rollback")
    newest_first = [one.snapshots for one in reversed(different) if one is not None]
    found = list(zip(names, newest_first, strict=False))
    # After a rollback the next one goes back to what was live before, and not to what was left.
    before = went_live_before(entries, live[-1]) if live else None
    if before is None or any(before.snapshots == snapshots for _, snapshots in found):
        return found
    return [*found, (names[1], before.snapshots)]


def _is_other(one: Promotion | None, after: Promotion | None) -> bool:
    return one is not None and (after is None or one.snapshots != after.snapshots)


def _keep_bases(snapshots: Sequence[Snapshot], reasons: dict[str, list[str]]) -> None:
    """A change snapshot is read through its base, and that through its own."""
    by_id = {s.snapshot_id: s for s in snapshots}
    waiting = [s for s in snapshots if reasons[s.snapshot_id]]
    for snapshot in waiting:  # grows while it is walked
        base = by_id.get(snapshot.change.base) if snapshot.change is not None else None
        if base is not None:
            if not reasons[base.snapshot_id]:
                waiting.append(base)
            reason = f"base of {snapshot.snapshot_id}"
            if not any(one.startswith("base of") for one in reasons[base.snapshot_id]):
                reasons[base.snapshot_id].append(reason)
