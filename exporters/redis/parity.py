"""Is every key and feature in Redis what was published, exactly?

The replies Redis must give are built by the same code that writes, and compared as raw bytes; only
a piece of rows whose bytes differ is parsed, to find and name what differs. Rows are asked about a
piece at a time, so what this holds in memory does not depend on how many there are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from exporters.redis.questions import Asking
from exporters.redis.report import WHOLE_ENTITY, Difference, Findings, ParityReport
from exporters.redis.sample import chosen
from exporters.redis.strays import KeyLedger
from featmill import clock
from featmill.online.codec import check_columns, pieces, redis_keys
from featmill.online.decode import MISSING, key_text
from featmill.online.live import read_record
from featmill.online.plan import plan_view
from featmill.online.topology import topology_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from featmill.contract.catalog import FeatureTable
    from featmill.online.connection import OnlineTarget
    from featmill.online.expiry import KeyExpiry
    from featmill.online.plan import ViewPlan


@dataclass(frozen=True, slots=True)
class ParityJob:
    """What is compared: the rows of one table under one rows project.

    `share` is the part of the entities that is looked at, chosen by their keys; None looks at all.
    Where keys expire, `expiry` says when, and a row that is past that may be gone.
    """

    project: str
    table: FeatureTable
    share: float | None = None
    expiry: KeyExpiry | None = None


def compare_rows(
    target: OnlineTarget,
    job: ParityJob,
    rows: pa.RecordBatchReader,
    on_progress: Callable[[int], None] | None = None,
) -> ParityReport:
    """Compare what is online with a snapshot's rows, in any order.

    `on_progress` is told how many rows were read, those of no sample included.

    Raises:
        EncodingError: a value has no online form, so it cannot be there.
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused a command.
    """
    started = time.perf_counter()
    comparison = _Comparison(target, job)
    check_columns(comparison.plan, rows.schema)
    record = read_record(target, job.project, comparison.plan.view)
    comparison.run(rows, on_progress)
    findings = comparison.findings
    return ParityReport(
        view=comparison.plan.view,
        record=record,
        checked_entities=comparison.checked,
        checked_values=comparison.checked * len(comparison.plan.fields),
        total_differences=findings.total,
        differences=tuple(findings.shown),
        seconds=time.perf_counter() - started,
        sampled=job.share,
        expired=findings.expired,
        compared_bytes=comparison.compared_bytes,
    )


def verify_view(
    target: OnlineTarget,
    project: str,
    table: FeatureTable,
    rows: pa.RecordBatchReader,
    on_progress: Callable[[int], None] | None = None,
) -> ParityReport:
    """As `compare_rows`, of every entity, in a store whose keys do not expire."""
    return compare_rows(target, ParityJob(project, table), rows, on_progress)


class _Comparison:
    """One comparison, as far as it has got."""

    def __init__(self, target: OnlineTarget, job: ParityJob) -> None:
        self.plan: ViewPlan = plan_view(job.project, job.table)
        self.findings = Findings()
        self.checked = self.compared_bytes = 0
        self._job = job
        self._topology = topology_of(target)
        self._read = 0

    def run(self, rows: pa.RecordBatchReader, on_progress: Callable[[int], None] | None) -> None:
        with KeyLedger(self.plan) as ledger, Asking(self.plan, self._topology) as asking:
            for answer in asking.answers(self._pieces(rows)):
                answer.describe(self.findings, self._gone_before())
                if self._job.share is None:
                    ledger.add(answer.keys)
                self.checked += answer.rows
                self.compared_bytes += answer.compared_bytes
                if on_progress is not None:
                    on_progress(self._read)
            if self._job.share is None:
                self._add_strays(ledger)

    def _pieces(self, rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in rows:
            for piece in pieces(batch):
                self._read += piece.num_rows
                found = self._sampled(piece)
                if found.num_rows:
                    yield found

    def _sampled(self, piece: pa.RecordBatch) -> pa.RecordBatch:
        if self._job.share is None:
            return piece
        mask = chosen(redis_keys(self.plan, piece), self._job.share)
        return piece.take(pa.array(np.flatnonzero(mask)))

    def _gone_before(self) -> int | None:
        """The event time, in microseconds, up to which a row's key may have expired by now."""
        # Keys go while others are compared, so the clock is read for each piece.
        return None if self._job.expiry is None else self._job.expiry.gone_before(clock.now())

    def _add_strays(self, ledger: KeyLedger) -> None:
        for key in ledger.strays(self._topology):
            self.findings.add(
                Difference(key_text(self.plan, key), WHOLE_ENTITY, MISSING, "present")
            )
