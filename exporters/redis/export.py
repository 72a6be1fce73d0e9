"""A snapshot's rows into Redis: one HSET an entity, in key order, with a journal in the store.

In-place publishing is atomic per entity and view only (rule 21): a reader sees an entity's old row
or its new one, and until the last row is there the view's live record says `writing`. A killed run
leaves that record; the next run of the same snapshot goes on from the rows it counts.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from exporters.redis.job import ExportResult, first_record, is_live, key_names, last_record
from exporters.redis.retire import retire_view
from featmill.errors import EncodingError, LakeError, OnlineError, OnlineRefused
from featmill.online.codec import check_columns, delete_commands, pieces, write_commands
from featmill.online.connection import translated_errors
from featmill.online.live import (
    LiveRecord,
    live_key,
    look_command,
    mark_command,
    parse_record,
    read_record,
)
from featmill.online.pipeline import Pipeline
from featmill.online.plan import feature_field, plan_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from exporters.redis.job import ExportJob
    from featmill.online.connection import OnlineTarget
    from featmill.online.plan import ViewPlan

    #: Given snapshot ids, the key columns of entities in any of them and not among the job's rows.
    VanishedKeys = Callable[[tuple[str, ...]], pa.RecordBatchReader]
    OnProgress = Callable[[int], None]

#: Rows between two marks in the journal: what a killed run may have to write again.
_MARK_ROWS = 20_000

#: Commands sent and not yet answered: bounds what either side holds for the other.
_WINDOW = 16_384


def export_view(
    target: OnlineTarget,
    job: ExportJob,
    rows: pa.RecordBatchReader,
    *,
    vanished: VanishedKeys | None,
    on_progress: OnProgress | None = None,
) -> ExportResult:
    """Put a snapshot online and take away what it replaces.

    Args:
        target: the store.
        job: what is exported.
        rows: the job's rows in key order, which must be the same order in every run.
        vanished: asked, with the ids of the snapshots whose rows may be online, for the keys of
            their entities that the job's rows lack. None leaves such entities online.
        on_progress: told how many of the snapshot's rows are known to be online.

    Raises:
        EncodingError: a value has no online form; nothing of its piece of rows was sent.
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused a write, or another export of the view is running.
        LakeError: there were more or fewer rows than `job.total_rows`.
    """
    started = time.perf_counter()
    plan = plan_view(job.project, job.table)
    check_columns(plan, rows.schema)
    before = _record_before(target, job, plan)
    if before is not None and is_live(job, plan, before):
        _put_record(target, plan, before.model_copy(update={"release_id": job.release_id}))
        return ExportResult(0, 0, 0, time.perf_counter() - started, 0, unchanged=True)
    record = first_record(job, plan, before)
    with Pipeline(target, window=_WINDOW) as pipeline:
        run = _Run(pipeline, plan, record, on_progress)
        try:
            written = run.write(rows)
            deleted = run.delete(vanished)
            run.finish()
        except (EncodingError, LakeError):
            # What was sent is good: once it is counted, the next run need not send it again.
            pipeline.finish()
            raise
        except _OtherWriter as error:
            # Either run may have overwritten what the other counts: no row is known to be there.
            _put_record(target, plan, record.model_copy(update={"position": 0}))
            raise OnlineRefused(
                f"another export of {plan.view} is running; both have stopped",
                hint="wait for the other to end, then run the command again",
            ) from error
    return ExportResult(
        rows=written,
        deleted=deleted,
        bytes=pipeline.sent_bytes,
        seconds=time.perf_counter() - started,
        resumed_from=record.position,
        unchanged=False,
    )


class _OtherWriter(Exception):
    """The live record carries the mark of another run."""


class _Run:
    """One run over one connection: what is sent later is executed later."""

    def __init__(
        self,
        pipeline: Pipeline,
        plan: ViewPlan,
        record: LiveRecord,
        on_progress: OnProgress | None,
    ) -> None:
        self._pipeline = pipeline
        self._plan = plan
        self._record = record
        self._on_progress = on_progress
        self._deleted = 0
        fields = (feature_field(plan.view, name) for name in record.dropped)
        self._dropped = tuple(field for field in fields if field not in plan.fields)

    def write(self, rows: pa.RecordBatchReader) -> int:
        """Send every row that is not known to be there; returns how many."""
        first = position = marked = self._record.position
        self._pipeline.send(self._mark_command(self._record), 1)
        for piece in _pieces_after(rows, position):
            self._pipeline.send(write_commands(self._plan, piece), piece.num_rows)
            if self._dropped:
                self._send_delete(piece, self._dropped)
            position += piece.num_rows
            if position - marked >= _MARK_ROWS:
                self._mark(self._record.model_copy(update={"position": position}))
                marked = position
        if position != self._record.rows:
            raise LakeError(
                f"{self._plan.view}: snapshot {self._record.snapshot_id} should have "
                f"{self._record.rows} rows, {position} were read",
                hint="the published table changed, or the rows were not read whole",
            )
        return position - first

    def delete(self, vanished: VanishedKeys | None) -> int:
        """Take away the entities of replaced snapshots; returns how many were there."""
        if vanished is not None and self._record.replaces:
            keys = vanished(self._record.replaces)
            check_columns(self._plan, keys.schema, keys_only=True)
            for piece in _pieces_after(keys, 0):
                fields = (*self._plan.fields, *self._dropped)
                self._send_delete(piece, fields, self._count_deleted)
            self._pipeline.finish()
        return self._deleted

    def finish(self) -> None:
        """Wait until everything sent was answered, then say so in the record."""
        self._mark(self._record.model_copy(update={"position": self._record.rows}))
        self._pipeline.finish()
        self._mark(last_record(self._record))
        self._pipeline.finish()

    def _send_delete(
        self,
        piece: pa.RecordBatch,
        fields: tuple[bytes, ...],
        on_reply: Callable[[int], None] | None = None,
    ) -> None:
        commands = delete_commands(self._plan, piece, fields)
        self._pipeline.send(commands, piece.num_rows, on_reply)

    def _count_deleted(self, fields: int) -> None:
        self._deleted += fields > 0

    def _mark(self, record: LiveRecord) -> None:
        look = look_command(self._plan.project, self._plan.view)
        marked = partial(self._marked, record.position)
        self._pipeline.send(look + self._mark_command(record), 2, marked)

    def _mark_command(self, record: LiveRecord) -> bytes:
        return mark_command(self._plan.project, self._plan.view, record)

    def _marked(self, position: int, reply: bytes | int | None) -> None:
        """Take the two replies of a mark: the record before it, then Redis' count of new fields."""
        if isinstance(reply, int):
            if self._on_progress is not None:
                self._on_progress(position)
        elif reply is None or parse_record(self._plan.view, reply).writer != self._record.writer:
            raise _OtherWriter


def _pieces_after(rows: pa.RecordBatchReader, skip: int) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        if skip < batch.num_rows:
            yield from pieces(batch.slice(skip))
        skip = max(0, skip - batch.num_rows)


def _record_before(target: OnlineTarget, job: ExportJob, plan: ViewPlan) -> LiveRecord | None:
    try:
        before = read_record(target, plan.project, plan.view)
    except OnlineError as error:
        # A record that cannot be read is no reason not to write every row again.
        if job.force and type(error) is OnlineError:
            return None
        raise
    if before is not None and before.keys not in ((), key_names(plan)):
        # Another version of the table with other join keys: none of its entities would be written over, and the
        # snapshots they came from have no column to find them by.
        retire_view(target, plan.project, plan.view)
        return None
    return before


def _put_record(target: OnlineTarget, plan: ViewPlan, record: LiveRecord) -> None:
    with translated_errors(target), target.client() as client:
        client.hset(live_key(plan.project), plan.view, record.model_dump_json())
