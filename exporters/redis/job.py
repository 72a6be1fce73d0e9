"""What is exported, and what came of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featmill import clock
from featmill.online.live import LiveRecord, LiveState

if TYPE_CHECKING:
    from datetime import datetime

    from featmill.contract.catalog import FeatureTable
    from featmill.online.plan import ViewPlan


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What a lookup at one snapshot's as_of finds of one feature table, to go live in one Feast project.

    `total_rows` is how many rows there are. `content` is a digest of all that decides their values: snapshot and rows
    can be the same and a value not, as where a feature came to ignore NULLs. `holds` names the snapshots the rows come
    from; left empty it is the one. `force` writes every row again even if the store says it has them.
    """

    project: str
    table: FeatureTable
    snapshot_id: str
    release_id: str
    as_of: datetime
    total_rows: int
    content: str = ""
    holds: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What one run did.

    `rows` were written and `deleted` entities taken away by this run. `resumed_from` is the row an
    earlier, unfinished run had reached, 0 if there was none. `unchanged` says the snapshot was live
    already.
    """

    rows: int
    deleted: int
    bytes: int
    seconds: float
    resumed_from: int
    unchanged: bool


def is_live(job: ExportJob, plan: ViewPlan, before: LiveRecord) -> bool:
    """Whether the store holds the job's snapshot already, and the job settles for that."""
    return before.is_complete and not job.force and _is_same(job, plan, before)


def first_record(job: ExportJob, plan: ViewPlan, before: LiveRecord | None) -> LiveRecord:
    """The record a run starts with: where an unfinished run of the same job stopped, or row 0."""
    features = _names(plan)
    fresh = LiveRecord(
        release_id=job.release_id,
        snapshot_id=job.snapshot_id,
        as_of=job.as_of,
        rows=job.total_rows,
        state=LiveState.WRITING,
        position=0,
        features=features,
        content=job.content,
        holds=job.holds or (job.snapshot_id,),
        keys=key_names(plan),
        writer=uuid.uuid4().hex,
        started_at=clock.now(),
    )
    if before is None:
        return fresh
    # Of a run that was killed nobody knows how much is there, so what it was to replace may be,
    # too. The same snapshot can have had other rows: a shorter ttl leaves fewer of them visible.
    is_same = _is_same(job, plan, before)
    held = () if is_same else before.holds or (before.snapshot_id,)
    replaces = dict.fromkeys((*before.replaces, *held))
    dropped = dict.fromkeys((*before.dropped, *before.features))
    resumes = is_same and not (before.is_complete or job.force)
    return fresh.model_copy(
        update={
            "position": before.position if resumes else 0,
            "started_at": before.started_at if resumes else fresh.started_at,
            "replaces": tuple(replaces),
            "dropped": tuple(name for name in dropped if name not in features),
        }
    )


def last_record(record: LiveRecord) -> LiveRecord:
    """The record of a finished run: exactly its snapshot is there."""
    return record.model_copy(
        update={
            "state": LiveState.COMPLETE,
            "position": record.rows,
            "replaces": (),
            "dropped": (),
            "finished_at": clock.now(),
        }
    )


def key_names(plan: ViewPlan) -> tuple[str, ...]:
    """The join keys with their online kinds: where one differs, entities have other keys in Redis."""
    return tuple(f"{key.name} {key.kind}" for key in plan.keys)


def _is_same(job: ExportJob, plan: ViewPlan, before: LiveRecord) -> bool:
    now = (job.snapshot_id, job.content, job.total_rows, _names(plan))
    return now == (before.snapshot_id, before.content, before.rows, before.features)


def _names(plan: ViewPlan) -> tuple[str, ...]:
    return tuple(feature.name for feature in plan.features)
