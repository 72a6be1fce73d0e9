"""A snapshot's rows into Redis: one HSET an entity, in key order, with a journal in the store.

Only what differs from what is online is written, where that is known; else every row. In-place publishing is atomic per
entity and view only (rule 21): a reader sees an entity's old row or its new one, and until the last row is there the
view's live record says `writing`. A killed run leaves that record; the next run of the same snapshot goes on from the
rows it counts.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from exporters.changed_rows import Difference, RowSource
from exporters.redis.claim import Found, claim, disown, find, newer
from exporters.redis.eviction import warn_of_eviction
from exporters.redis.job import ExportResult, base_of, first_record, is_live
from exporters.redis.writing import HalfRow, OtherWriter, Run
from featmill.errors import EncodingError, LakeError, OnlineError, OnlineRefused, OnlineUnreachable
from featmill.online.codec import check_columns
from featmill.online.live import parse_record, read_record, read_record_bytes, swap_record
from featmill.online.pipeline import Pipeline
from featmill.online.plan import plan_view
from featmill.online.topology import through_moves, topology_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.changed_rows import VanishedKeys
    from exporters.redis.job import ExportJob
    from featmill.online.connection import OnlineTarget
    from featmill.online.live import LiveRecord
    from featmill.online.plan import ViewPlan
    from featmill.online.topology import Topology

    OnProgress = Callable[[int], None]

#: Commands sent and not yet answered: bounds what either side holds for the other.
_WINDOW = 16_384

#: Why every row is written after all.
HALF_ROW = "the store had lost rows that were online (evicted, deleted, or not yet copied before a failover)"

#: Claims of a view whose record changes while the difference is worked out.
_CLAIMS = 5


def export_view(
    target: OnlineTarget,
    job: ExportJob,
    rows: pa.RecordBatchReader | RowSource,
    *,
    vanished: VanishedKeys | None = None,
    on_progress: OnProgress | None = None,
) -> ExportResult:
    """Put a snapshot online and take away what it replaces.

    Args:
        target: the store.
        job: what is exported.
        rows: where its rows come from. Of a bare reader, which must have the same order in every run, every row is
            written, and slots of a cluster that move meanwhile end the run.
        vanished: of a bare reader, as `RowSource.vanished`.
        on_progress: told how many of the snapshot's rows are known to be online; those that do not differ are from the
            start.

    Raises:
        EncodingError: a value has no online form; nothing of its piece of rows was sent.
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused a write, a newer promotion has the view, or another export of it is running.
        LakeError: there were more or fewer rows than were counted.
    """
    started = time.perf_counter()
    export = _Export(topology_of(target), job, on_progress)
    warn_of_eviction(export.topology, job)
    if isinstance(rows, RowSource):
        source = rows
        result = through_moves(export.topology, lambda: export.attempt(source), export.progress)
    else:
        bare = rows
        result = export.attempt(RowSource(lambda: bare, vanished))
    return result.took(time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class _Work:
    """What a run is to do: the record it starts with, rows, who is to go, and why it is not the difference."""

    record: LiveRecord
    rows: pa.RecordBatchReader
    read_all: Callable[[], pa.RecordBatchReader]
    vanished: VanishedKeys | None
    difference: Difference | None
    reason: str = ""
    is_again: bool = False


class _Export:
    """One job: it is attempted again where a cluster's slots move, and goes on from its own journal then."""

    def __init__(self, topology: Topology, job: ExportJob, on_progress: OnProgress | None) -> None:
        self.topology = topology
        self._target = topology.target
        self._job = job
        self._plan = plan_view(job.project, job.table)
        self._on_progress = on_progress
        self._reached = 0
        self._half_row = ""

    def progress(self) -> int:
        """How many rows are known to be online."""
        return self._reached

    def attempt(self, source: RowSource) -> ExportResult:
        """Find what is to be written, claim the view, write."""
        for _ in range(_CLAIMS):
            found = find(self._target, self._job, self._plan)
            if found.record is not None and is_live(self._job, self._plan, found.record):
                if self._restate(found, found.record):
                    return ExportResult(0, 0, 0, 0.0, 0, unchanged=True)
                continue
            work = self._work(source, found.record)
            # Before the claim: rows that cannot be read, or are not the view's, change nothing.
            check_columns(self._plan, work.rows.schema)
            with Pipeline(self._target, window=_WINDOW, topology=self.topology) as pipeline:
                record = work.record.model_copy(update={"clients": pipeline.client_ids()})
                if claim(self.topology, self._plan, found, record):
                    run = Run(pipeline, self._plan, record, self._note, self._job.expiry)
                    result = self._write(run, work)
                    if result is not None:
                        return result
        raise self._taken() or _running(self._plan)

    def _work(self, source: RowSource, before: LiveRecord | None) -> _Work:
        """What differs from what is there; every row where that is not known."""
        base = base_of(self._job, self._plan, before)
        if isinstance(base, str) or source.changes is None:
            reason = base if isinstance(base, str) else "the rows come without what they replace"
        else:
            found = source.changes(base)
            if isinstance(found, Difference):
                record = first_record(self._job, self._plan, before, base, found.rows)
                gone = found.vanished
                is_again = before is not None and not before.is_complete
                return _Work(
                    record, found.reader(), source.read_all, lambda _: gone(), found, "", is_again
                )
            reason = found.reason
        record = first_record(self._job, self._plan, before)
        reason = self._half_row or reason
        return _Work(record, source.read_all(), source.read_all, source.vanished, None, reason)

    def _restate(self, found: Found, record: LiveRecord) -> bool:
        """The store holds all of it: only what names the release and the promotion changes."""
        update = {"release_id": self._job.release_id, "epoch": self._job.epoch}
        after = record.model_copy(update=update)
        return swap_record(self._target, self._plan.project, self._plan.view, found.data, after)

    def _write(self, run: Run, work: _Work) -> ExportResult | None:
        """Write, and say of a run that another one ended what has become of it.

        None where what was compared with is not what the store holds: every row is to be written, and the record says
        so by now.
        """
        try:
            written = run.write(work.rows, is_again=work.is_again)
            deleted = self._delete(run, work)
            run.finish()
        except (EncodingError, LakeError):
            # What was sent is good: once it is counted, the next run need not send it again.
            run.settle()
            raise
        except HalfRow:
            self._half_row = HALF_ROW
            self._forget_base(run.record)
            return None
        except OtherWriter as error:
            # Either run may have overwritten what the other counts: no row is known to be there.
            other = disown(self._target, self._plan, run.record)
            raise self._lost(other) from error
        except OnlineUnreachable as error:
            # A newer run ends our connections; then it is not the store that fails.
            taken = self._taken(run.record.writer)
            if taken is None:
                raise
            raise taken from error
        difference = work.difference
        return ExportResult(
            rows=written,
            deleted=deleted,
            bytes=run.sent_bytes,
            seconds=0.0,
            resumed_from=run.record.position,
            unchanged=False,
            changed=None if difference is None else difference.rows,
            values=None if difference is None else difference.values,
            reason=work.reason,
        )

    def _forget_base(self, own: LiveRecord) -> None:
        """Say of our run that nothing is known of the rows; where another run has the view, that is for it to say."""
        project, view = self._plan.project, self._plan.view
        # Another writer's mark: a mark that is still on its way must not count rows again.
        update = {"base": None, "differing": None, "position": 0, "writer": uuid.uuid4().hex}
        after = own.model_copy(update=update)
        for _ in range(_CLAIMS):
            data = read_record_bytes(self._target, project, view)
            if data is None or parse_record(view, data).writer != own.writer:
                return
            if swap_record(self._target, project, view, data, after):
                return

    def _delete(self, run: Run, work: _Work) -> int:
        """Take away the entities of replaced snapshots; returns how many were there."""
        if work.vanished is None or not run.record.replaces:
            return 0
        keys = work.vanished(run.record.replaces)
        return run.sweep(self.topology, work.read_all()) if keys is None else run.delete(keys)

    def _note(self, position: int, to_write: int) -> None:
        # Rows that do not differ are online as it is.
        online = self._job.total_rows - to_write + position
        self._reached = max(self._reached, online)
        if self._on_progress is not None:
            self._on_progress(online)

    def _taken(self, writer: str = "") -> OnlineRefused | None:
        """The refusal, if another run has the view by now."""
        try:
            record = read_record(self._target, self._plan.project, self._plan.view)
        except OnlineError:
            return None
        return None if record is None or record.writer == writer else self._lost(record)

    def _lost(self, other: LiveRecord | None) -> OnlineRefused:
        if other is not None and other.epoch > self._job.epoch:
            return newer(self._plan, other, self._job.epoch)
        return _running(self._plan)


def _running(plan: ViewPlan) -> OnlineRefused:
    return OnlineRefused(
        f"another export of {plan.view} is running; both have stopped",
        hint="wait for the other to end, then run the command again",
    )
