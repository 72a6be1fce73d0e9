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
    """One snapshot of one feature table, to go live in one Feast project.

    `total_rows` is what the registry says the snapshot holds. `force` writes every row again even
    if the store says it has them.
    """

    project: str
    table: FeatureTable
    snapshot_id: str
    release_id: str
    as_of: datetime
    total_rows: int
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
        writer=uuid.uuid4().hex,
        started_at=clock.now(),
    )
    if before is None:
        return fresh
    # Of a run that was killed nobody knows how much is there, so what it was to replace may be,
    # too.
    replaces = dict.fromkeys((*before.replaces, before.snapshot_id))
    replaces.pop(job.snapshot_id, None)
    dropped = dict.fromkeys((*before.dropped, *before.features))
    resumes = not (before.is_complete or job.force) and _is_same(job, plan, before)
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


def _is_same(job: ExportJob, plan: ViewPlan, before: LiveRecord) -> bool:
    now_and_then = (job.snapshot_id, job.total_rows, _names(plan))
    return now_and_then == (before.snapshot_id, before.rows, before.features)


def _names(plan: ViewPlan) -> tuple[str, ...]:
    return tuple(feature.name for feature in plan.features)
