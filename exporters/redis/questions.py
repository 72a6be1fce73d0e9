"""What the store is asked about rows, and how its answers differ from what they must be.

A piece of rows is one question to each server that holds some of them. While the servers answer one
piece the questions about the next are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from exporters.redis.report import WHOLE_ENTITY, Difference, Findings
from featmill.errors import SlotsMoved
from featmill.online.arrow_forms import event_micros
from featmill.online.codec import expected_replies, read_commands, redis_keys
from featmill.online.decode import MISSING, event_time_text, key_text, value_text
from featmill.online.refusals import refusal
from featmill.online.topology import through_moves
from featmill.online.wires import Wires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from hiredis import Reader

    from featmill.online.plan import ViewPlan
    from featmill.online.topology import Topology

_NOTHING = memoryview(b"")


class Asking:
    """The connections over which pieces of rows are asked about, in order."""

    def __init__(self, plan: ViewPlan, topology: Topology) -> None:
        self._plan = plan
        self._topology = topology
        self._wires = Wires(topology.nodes)
        self._answered = 0

    def __enter__(self) -> Asking:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wires.close()

    def answers(self, pieces: Iterator[pa.RecordBatch]) -> Iterator[Question]:
        """The questions about each piece, once they are answered.

        Raises:
            OnlineUnreachable: a connection broke.
            OnlineRefused: a question was answered with an error; `SlotsMoved`: the slots do not settle.
        """
        asked: _Round | None = None
        for piece in pieces:
            fresh = self._round(piece)
            if asked is not None:
                yield from self._heard(asked)
                if fresh.wires is not self._wires:
                    fresh = self._round(piece)
            fresh.send()
            asked = fresh
        if asked is not None:
            yield from self._heard(asked)

    def _round(self, piece: pa.RecordBatch) -> _Round:
        return _Round(self._plan, self._topology, self._wires, piece)

    def _heard(self, asked: _Round) -> list[Question]:
        try:
            found = asked.listen()
        except SlotsMoved:
            found = through_moves(
                self._topology, lambda: self._again(asked.piece), lambda: self._answered
            )
        self._answered += 1
        return found

    def _again(self, piece: pa.RecordBatch) -> list[Question]:
        """Ask about a piece again, of whoever holds its keys now."""
        self._wires.close()
        self._wires = Wires(self._topology.nodes)
        fresh = self._round(piece)
        fresh.send()
        return fresh.listen()


class _Round:
    """One piece of rows: a question to each server that holds some of them."""

    def __init__(
        self, plan: ViewPlan, topology: Topology, wires: Wires, piece: pa.RecordBatch
    ) -> None:
        self.piece = piece
        self.wires = wires
        self._topology = topology
        self._questions: list[Question | None] = [None] * len(topology.nodes)
        keys = redis_keys(plan, piece)
        places = topology.route(keys)
        for place in np.flatnonzero(np.bincount(places)).tolist():
            if topology.is_single:
                self._questions[place] = Question(plan, piece, keys)
                continue
            mine = pa.array(np.flatnonzero(places == place))
            self._questions[place] = Question(plan, piece.take(mine), keys.take(mine))
        self._rest = [_NOTHING if q is None else q.commands for q in self._questions]

    def send(self) -> None:
        """Send every question, and hear what comes meanwhile."""
        while any(self._rest):
            self._exchange()

    def listen(self) -> list[Question]:
        """Wait for every answer."""
        asked = [question for question in self._questions if question is not None]
        while not all(question.is_answered for question in asked):
            self._exchange()
        for place, question in enumerate(self._questions):
            if question is not None and question.error is not None:
                raise refusal(self._topology.nodes[place], question.error)
        return asked

    def _exchange(self) -> None:
        for place, sent, received in self.wires.exchange(self._rest):
            self._rest[place] = self._rest[place][sent:]
            question = self._questions[place]
            if received and question is not None:
                question.hear(received)


class Question:
    """Some rows: what is asked, what the answer must be, and how it differs."""

    def __init__(self, plan: ViewPlan, rows: pa.RecordBatch, keys: pa.LargeBinaryArray) -> None:
        self._plan = plan
        self._rows = rows
        self.keys = keys
        self.rows: int = rows.num_rows
        self.commands = read_commands(plan, rows).data
        self.error: Exception | None = None
        self._expected = expected_replies(plan, rows).tobytes()
        self._equal = 0
        self._reader: Reader | None = None
        self._replies: list[object] = []

    @property
    def compared_bytes(self) -> int:
        """How long the answer must be."""
        return len(self._expected)

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

    def describe(self, findings: Findings, gone_before: int | None) -> None:
        """Find what differs, if anything does.

        A row may be gone whose event time, in microseconds, is at or before `gone_before`.
        """
        if self._reader is None:
            return
        event_time = self._rows.column(self._plan.event_time)
        may_be_gone = (
            None
            if gone_before is None
            else event_micros(event_time, self._plan.event_time) <= gone_before
        )
        wanted = _parser(self._expected)
        for place, actual in enumerate(self._replies):
            expected = wanted.gets()
            if expected == actual:
                continue
            if may_be_gone is not None and may_be_gone[place] and _is_gone(actual):
                findings.expired += 1
            else:
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
        if _is_gone(actual):
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
        if findings.is_full:
            findings.total += 1
            return
        findings.add(Difference(self._key_text(place), WHOLE_ENTITY, expected, actual))

    def _key_text(self, place: int) -> str:
        return key_text(self._plan, self.keys[place].as_py())


def _is_gone(reply: object) -> bool:
    """Whether a reply has no field of the view."""
    return isinstance(reply, list) and all(value is None for value in reply)


def _parser(data: bytes) -> Reader:
    from hiredis import Reader

    reader = Reader()
    reader.feed(data)
    return reader
