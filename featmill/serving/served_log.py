"""The served log: a sample of what was answered, to be compared with what models were trained on.

A request never waits for it: answers go into a bounded queue, and what does not fit is dropped and counted. A thread
turns them into Parquet files, one folder for each service. An entity's keys are not kept: only their HMAC, under a
secret of this featmill home, so that whoever has the same keys can find the same rows, and nobody else can.
"""

from __future__ import annotations

import hmac
import json
import os
import queue
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from featmill import clock
from featmill.serving.answer import WORDS, FeatureVectors
from featmill.serving.answer_forms import arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

#: The columns beside the features, their `__status`, and each view's `__event_at` and `__snapshot`.
ENTITY, AS_OF, DEGRADED = "entity", "as_of", "degraded"

_DIGITS = 32
_ANSWERS_WAITING = 1_024
_ANSWERS_A_TABLE = 256
_ROWS_A_FILE = 100_000
_SECONDS_A_FILE = 60.0
_LONGEST_WAIT = 1.0


class ServedLog:
    """Keeps a share of the answers below a folder.

    `on_done` is told what became of answers: `kept`, `dropped` (there was no room) or `failed` (it, or the file it was
    for, could not be written).
    """

    def __init__(
        self,
        folder: Path,
        secret: bytes,
        share: float,
        on_done: Callable[[str, int], object] = lambda _what, _times: None,
        *,
        seconds: float = _SECONDS_A_FILE,
    ) -> None:
        self._folder = folder
        self._secret = secret
        self._share = share
        self._on_done = on_done
        self._seconds = seconds
        self._waiting: queue.Queue[FeatureVectors | None] = queue.Queue(_ANSWERS_WAITING)
        self._random = random.Random()  # noqa: S311 - a sample is no secret
        self._files = 0
        self._pending = _Pending()
        self._thread = threading.Thread(target=self._run, name="featmill-served-log", daemon=True)
        self._thread.start()

    def offer(self, answer: FeatureVectors) -> None:
        """Keep an answer if the sample wants it; never waits."""
        if self._random.random() >= self._share:
            return
        try:
            self._waiting.put_nowait(answer)
        except queue.Full:
            self._on_done("dropped", 1)

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits, for at most so long."""
        try:
            self._waiting.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _run(self) -> None:
        since = time.monotonic()
        while True:
            is_last = False
            try:
                answer = self._waiting.get(timeout=min(_LONGEST_WAIT, self._seconds))
                is_last = answer is None
                if answer is not None:
                    self._pending.add(answer)
            except queue.Empty:
                pass
            if len(self._pending.answers) >= _ANSWERS_A_TABLE:
                self._make_tables()
            is_due = time.monotonic() - since >= self._seconds
            if is_due or is_last or self._pending.rows >= _ROWS_A_FILE:
                self._write()
                since = time.monotonic()
            if is_last:
                return

    def _make_tables(self) -> None:
        """Make tables of the answers that wait, one of all that look alike: one of each would take too long."""
        pending, alike = self._pending, defaultdict[object, list[FeatureVectors]](list)
        for answer in pending.answers:
            views = tuple(view.view for view in answer.views)
            alike[answer.service, answer.names, answer.types, views].append(answer)
        pending.answers.clear()
        for answers in alike.values():
            try:
                pending.keep(answers, logged(answers, self._secret))
            except Exception:
                self._make_tables_of_each(answers)

    def _make_tables_of_each(self, answers: Sequence[FeatureVectors]) -> None:
        for answer in answers:
            try:
                self._pending.keep([answer], logged([answer], self._secret))
            except Exception:
                self._on_done("failed", 1)

    def _write(self) -> None:
        self._make_tables()
        tables, self._pending = self._pending.tables, _Pending()
        for service, kept in tables.items():
            times = sum(answers for answers, _ in kept)
            try:
                self._write_file(service, [table for _, table in kept])
            except Exception:
                # A full disk must not end the log, and a log must not end the serving.
                self._on_done("failed", times)
            else:
                self._on_done("kept", times)

    def _write_file(self, service: str, tables: Sequence[pa.Table]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = self._folder / service
        folder.mkdir(parents=True, exist_ok=True)
        self._files += 1
        name = f"{clock.now():%Y%m%dT%H%M%S}-{os.getpid()}-{self._files:06}.parquet"
        beside = folder / f".{name}.new"
        pq.write_table(
            pa.concat_tables(tables, promote_options="default"), beside, compression="zstd"
        )
        beside.replace(folder / name)


class _Pending:
    """What is to be written: answers, and by service tables with how many answers each is of."""

    def __init__(self) -> None:
        self.answers: list[FeatureVectors] = []
        self.tables: dict[str, list[tuple[int, pa.Table]]] = {}
        self.rows = 0

    def add(self, answer: FeatureVectors) -> None:
        self.answers.append(answer)
        self.rows += answer.rows

    def keep(self, answers: Sequence[FeatureVectors], table: pa.Table) -> None:
        self.tables.setdefault(answers[0].service, []).append((len(answers), table))


def logged(answers: Sequence[FeatureVectors], secret: bytes) -> pa.Table:
    """Answers of the same features as the log keeps them: hashed keys, values, statuses, event times, snapshots."""
    import pyarrow as pa

    first, moment = answers[0], pa.timestamp("us", "UTC")
    entities = [one for answer in answers for one in hashed(answer.keys, secret)]
    columns: dict[str, Any] = {
        ENTITY: pa.array(entities, pa.string()),
        AS_OF: pa.array(_for_each_row(answers, [one.as_of for one in answers]), moment),
        DEGRADED: pa.array(_for_each_row(answers, [one.degraded for one in answers]), pa.string()),
    }
    for at, name in enumerate(first.names):
        kind = arrow_type(first.types[at]) if first.types else None
        values = [value for answer in answers for value in answer.values[at]]
        words = [WORDS[status] for answer in answers for status in answer.statuses[at]]
        columns[name] = pa.array(values, kind)
        columns[f"{name}__status"] = pa.array(words, pa.string())
    for at, view in enumerate(first.views):
        moments = [event for answer in answers for event in answer.views[at].event_at]
        columns[f"{view.view}__event_at"] = pa.array(moments, pa.int64()).cast(moment)
    for at, view in enumerate(first.views):
        snapshots = _for_each_row(answers, [answer.views[at].snapshot for answer in answers])
        columns[f"{view.view}__snapshot"] = pa.array(snapshots, pa.string())
    return pa.table(columns)


def _for_each_row(answers: Sequence[FeatureVectors], told: Sequence[Any]) -> list[Any]:
    """What is told of each answer, for each of its rows."""
    return [one for answer, one in zip(answers, told, strict=True) for _ in range(answer.rows)]


def hashed(keys: Mapping[str, Sequence[Any]], secret: bytes) -> list[str]:
    """The HMAC of each row's keys; the order of the keys' names does not matter."""
    names = sorted(keys)
    return [
        hmac.digest(secret, json.dumps([names, row]).encode(), "sha256").hex()[:_DIGITS]
        for row in _rows([keys[name] for name in names])
    ]


def _rows(columns: Sequence[Sequence[Any]]) -> Iterator[list[object]]:
    """Each row's keys in one spelling, whether they come from a request or from a table."""
    for row in zip(*columns, strict=True):
        yield [_spelt(value) for value in row]


def _spelt(value: object) -> object:
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC).isoformat()
    if isinstance(value, date):
        # Online a date is the moment of its midnight.
        return datetime(value.year, value.month, value.day, tzinfo=UTC).isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value.hex() if isinstance(value, bytes) else value
