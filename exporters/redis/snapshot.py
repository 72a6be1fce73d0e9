"""One snapshot of a release on its way online: its visible rows found, compared with what is there, written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporters.changed_rows import row_source
from exporters.redis.export import export_view
from exporters.redis.job import is_live
from exporters.rows import visible_rows
from featmill.errors import OnlineError
from featmill.online.live import read_record
from featmill.online.plan import plan_view

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporters.redis.export import OnProgress
    from exporters.redis.job import ExportJob, ExportResult
    from exporters.rows import VisibleRows
    from featmill.contract.catalog import FeatureTable
    from featmill.online.connection import OnlineTarget
    from featmill.warehouse.model import Snapshot
    from featmill.warehouse.registry import Registry


@dataclass(frozen=True, slots=True)
class SnapshotRows:
    """What a release holds of one feature table: its snapshot, and all that were released, in `registry`."""

    table: FeatureTable
    snapshot: Snapshot
    released: Sequence[Snapshot]
    registry: Registry


def export_snapshot(
    target: OnlineTarget,
    rows: SnapshotRows,
    job_of: Callable[[VisibleRows], ExportJob],
    *,
    before: Callable[[], None] | None = None,
    on_rows: Callable[[int], OnProgress | None] | None = None,
) -> tuple[ExportResult, int]:
    """Make the store hold the snapshot's rows and no others of the view, by writing what differs.

    Args:
        target: the store.
        rows: what is exported.
        job_of: the job of the rows that serve.
        before: called before the first row is written, if any may be.
        on_rows: called with how many rows there are; what it gives is told how many of them are online.

    Returns:
        What came of it, and how many rows the view has online.

    Raises:
        LakeError: what was released cannot be read.
        EncodingError, OnlineUnreachable, OnlineRefused: as `export_view`.
    """
    with visible_rows(rows.table, rows.snapshot, rows.released) as visible:
        job = job_of(visible)
        if before is not None and not is_written(target, job):
            before()
        on_progress = None if on_rows is None else on_rows(visible.count)
        source = row_source(visible, rows.table, rows.registry)
        result = export_view(target, job, source, on_progress=on_progress)
        if result.unchanged and on_progress is not None:
            on_progress(visible.count)
        return result, visible.count


def is_written(target: OnlineTarget, job: ExportJob) -> bool:
    """Whether the store holds the job's rows already, so that nothing would be written.

    Raises:
        OnlineUnreachable: the store does not answer.
    """
    plan = plan_view(job.project, job.table)
    try:
        record = read_record(target, plan.project, plan.view)
    except OnlineError as error:
        # A record that cannot be read says nothing; the export that follows says what to do about it.
        if type(error) is OnlineError:
            return False
        raise
    return record is not None and is_live(job, plan, record)
