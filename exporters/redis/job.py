"""What is exported, and what came of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from featmill import clock
from featmill.online.live import LiveBase, LiveRecord, LiveState

if TYPE_CHECKING:
    from datetime import datetime

    from featmill.contract.catalog import FeatureTable
    from featmill.online.expiry import KeyExpiry
    from featmill.online.plan import ViewPlan


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What a lookup at one snapshot's as_of finds of one feature table, to go live in one Feast project.

    `total_rows` is how many rows there are. `content` is a digest of all that decides their values: snapshot and rows
    can be the same and a value not, as where a feature came to ignore NULLs. `holds` names the snapshots the rows come
    from; left empty it is the one. `force` writes every row again even if the store says it has them. `epoch` is that
    of the promotion: a greater one takes the view over, a smaller one is refused (rule 21).

    `expiry` says when the store may drop the keys; None where they stay. `keeps` makes keys stay that another view may
    have let go; what an earlier export of this one did is known.
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
    epoch: int = 0
    expiry: KeyExpiry | None = None
    keeps: bool = False

    @property
    def key_life_us(self) -> int | None:
        """How long after a row's event time its key stays, microseconds; None for as long as it is online."""
        return None if self.expiry is None else self.expiry.ttl_us + self.expiry.grace_us


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What one run did.

    `rows` were written and `deleted` entities taken away by this run. `resumed_from` is the row an
    earlier, unfinished run had reached, 0 if there was none. `unchanged` says the snapshot was live
    already.

    `changed` is how many rows differed from what was online, and `values` how many of their features;
    None where every row was written, and then `reason` says why.
    """

    rows: int
    deleted: int
    bytes: int
    seconds: float
    resumed_from: int
    unchanged: bool
    changed: int | None = None
    values: int | None = None
    reason: str = ""

    def took(self, seconds: float) -> ExportResult:
        """The same, of a run that took so long."""
        return replace(self, seconds=seconds)


def is_live(job: ExportJob, plan: ViewPlan, before: LiveRecord) -> bool:
    """Whether the store holds the job's snapshot already, and the job settles for that."""
    return before.is_complete and not job.force and _is_same(job, plan, before)


def base_of(job: ExportJob, plan: ViewPlan, before: LiveRecord | None) -> LiveBase | str:
    """What the job's rows can be compared with; or, in words, why every row is to be written."""
    if before is None:
        return "nothing is online yet"
    if job.force:
        return "asked for by --force"
    if before.is_complete:
        if not before.content:
            return "the live record does not say what decided the values"
        if before.key_life_us != job.key_life_us:
            return "keys are to stay for another time than before"
        return LiveBase(
            snapshot_id=before.snapshot_id,
            content=before.content,
            rows=before.rows,
            read_at=before.started_at,
            key_life_us=before.key_life_us,
        )
    if not _is_same(job, plan, before):
        return f"an export of snapshot {before.snapshot_id} has not finished: what is online is unknown"
    return before.base or "goes on with an export of every row"


def first_record(
    job: ExportJob,
    plan: ViewPlan,
    before: LiveRecord | None,
    base: LiveBase | None = None,
    differing: int | None = None,
) -> LiveRecord:
    """The record a run starts with: where an unfinished run of the same job stopped, or row 0.

    `base` and the number of rows `differing` from it are those of a run that writes only these.
    """
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
        epoch=job.epoch,
        key_life_us=job.key_life_us,
        may_expire=job.keeps or job.expiry is not None,
        base=base,
        differing=differing,
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
    # A position counts rows of one stream: those of all rows, or of what differs from one base.
    resumes = is_same and not (before.is_complete or job.force)
    resumes = resumes and (before.base, before.differing) == (base, differing)
    return fresh.model_copy(
        update={
            "position": before.position if resumes else 0,
            "started_at": before.started_at if resumes else fresh.started_at,
            "may_expire": fresh.may_expire or before.may_expire,
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
            "may_expire": record.key_life_us is not None,
            "base": None,
            "differing": None,
            "finished_at": clock.now(),
        }
    )


def key_names(plan: ViewPlan) -> tuple[str, ...]:
    """The join keys with their online kinds: where one differs, entities have other keys in Redis."""
    return tuple(f"{key.name} {key.kind}" for key in plan.keys)


def _is_same(job: ExportJob, plan: ViewPlan, before: LiveRecord) -> bool:
    now = (job.snapshot_id, job.content, job.total_rows, _names(plan), job.key_life_us)
    return now == (
        before.snapshot_id,
        before.content,
        before.rows,
        before.features,
        before.key_life_us,
    )


def _names(plan: ViewPlan) -> tuple[str, ...]:
    return tuple(feature.name for feature in plan.features)
