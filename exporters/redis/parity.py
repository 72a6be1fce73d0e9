"""Is every key and feature in Redis what was published, exactly?

The replies Redis must give are built by the same code that writes, and compared as raw bytes; only
a piece of rows whose bytes differ is parsed, to find and name what differs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from exporters.redis.report import WHOLE_ENTITY, Difference, Findings, ParityReport
from exporters.redis.strays import KeyLedger
from featmill.online.codec import (
    check_columns,
    expected_replies,
    pieces,
    read_commands,
    redis_keys,
)
from featmill.online.decode import MISSING, event_time_text, key_text, value_text
from featmill.online.live import read_record
from featmill.online.pipeline import Wire, refusal
from featmill.online.plan import plan_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from hiredis import Reader

    from featmill.contract.catalog import FeatureTable
    from featmill.online.connection import OnlineTarget
    from featmill.online.plan import ViewPlan


def verify_view(
    target: OnlineTarget,
    project: str,
    table: FeatureTable,
    rows: pa.RecordBatchReader,
    on_progress: Callable[[int], None] | None = None,
) -> ParityReport:
    """Compare what is online with a snapshot's rows, in any order.

    Raises:
        EncodingError: a value has no online form, so it cannot be there.
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused a command.
    """
    started = time.perf_counter()
    plan = plan_view(project, table)
    check_columns(plan, rows.schema)
    record = read_record(target, project, plan.view)
    findings = Findings()
    checked = 0
    with KeyLedger(plan) as ledger:
        with Wire(target) as wire:
            for question in _answered(target, wire, _questions(plan, rows)):
                question.describe(findings)
                ledger.add(question.keys)
                checked += question.rows
                if on_progress is not None:
                    on_progress(checked)
        for key in ledger.strays(target):
            findings.add(Difference(key_text(plan, key), WHOLE_ENTITY, MISSING, "present"))
    return ParityReport(
        view=plan.view,
        record=record,
        checked_entities=checked,
        checked_values=checked * len(plan.fields),
        total_differences=findings.total,
        differences=tuple(findings.shown),
        seconds=time.perf_counter() - started,
    )


def _questions(plan: ViewPlan, rows: pa.RecordBatchReader) -> Iterator[_Question]:
    for batch in rows:
        for piece in pieces(batch):
            yield _Question(plan, piece)


def _answered(
    target: OnlineTarget, wire: Wire, questions: Iterator[_Question]
) -> Iterator[_Question]:
    """Ask one question while the next is made, so that server and client work at once."""
    asked: _Question | None = None
    for question in questions:
        if asked is not None:
            yield _listen(target, wire, asked)
        rest = question.commands
        while rest:
            sent, received = wire.exchange(rest)
            rest = rest[sent:]
            question.hear(received)
        asked = question
    if asked is not None:
        yield _listen(target, wire, asked)


def _listen(target: OnlineTarget, wire: Wire, question: _Question) -> _Question:
    while not question.is_answered:
        question.hear(wire.exchange(memoryview(b""))[1])
    if question.error is not None:
        raise refusal(target, question.error)
    return question


class _Question:
    """One piece of rows: what is asked, what the answer must be, and how it differs."""

    def __init__(self, plan: ViewPlan, piece: pa.RecordBatch) -> None:
        self._plan = plan
        self.rows: int = piece.num_rows
        self.keys = redis_keys(plan, piece)
        self.commands = read_commands(plan, piece).data
        self.error: Exception | None = None
        self._expected = expected_replies(plan, piece).tobytes()
        self._equal = 0
        self._reader: Reader | None = None
        self._replies: list[object] = []

    @property
    def is_answered(self) -> bool:
        """Whether the whole answer has come."""
        if self._reader is None:
            return self._equal == len(self._expected)
        return len(self._replies) == self.rows

    def hear(self, received: bytes) -> None:
        """Take the next bytes of the answer."""
        if self._reader is None:
            end = self._equal + len(received)
            if self._expected[self._equal : end] == received:
                self._equal = end
                return
            self._reader = _parser(self._expected[: self._equal])
        self._reader.feed(received)
        while (reply := self._reader.gets()) is not False:
            self._replies.append(reply)
            self._note_error(reply)

    def describe(self, findings: Findings) -> None:
        """Find what differs, if anything does."""
        if self._reader is None:
            return
        wanted = _parser(self._expected)
        for place, actual in enumerate(self._replies):
            expected = wanted.gets()
            if expected != actual:
                self._describe_row(place, expected, actual, findings)

    def _note_error(self, reply: object) -> None:
        # A key of another type is a difference; any other error says nothing about the key.
        if isinstance(reply, Exception) and not str(reply).startswith("WRONGTYPE"):
            self.error = reply

    def _describe_row(
        self, place: int, expected: list[bytes], actual: object, findings: Findings
    ) -> None:
        if not isinstance(actual, list):
            self._add_whole(place, "a hash", str(actual), findings)
            return
        if all(value is None for value in actual):
            self._add_whole(place, "present", MISSING, findings)
            return
        names = (*(feature.name for feature in self._plan.features), self._plan.event_time)
        differing = [
            (name, want, got)
            for name, want, got in zip(names, expected, actual, strict=True)
            if want != got
        ]
        if findings.is_full:
            # Words take far longer than counting, and nobody would see them.
            findings.total += len(differing)
            return
        for name, want, got in differing:
            text = event_time_text if name == self._plan.event_time else value_text
            findings.add(Difference(self._key_text(place), name, text(want), text(got)))

    def _add_whole(self, place: int, expected: str, actual: str, findings: Findings) -> None:
        findings.add(Difference(self._key_text(place), WHOLE_ENTITY, expected, actual))

    def _key_text(self, place: int) -> str:
        return key_text(self._plan, self.keys[place].as_py())


def _parser(data: bytes) -> Reader:
    from hiredis import Reader

    reader = Reader()
    reader.feed(data)
    return reader
