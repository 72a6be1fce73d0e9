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
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from featmill import clock

if TYPE_CHECKING:
    import pyarrow as pa

    from featmill.serving.answer import FeatureVectors

#: The columns beside the features, their `__status`, and each view's `__event_at` and `__snapshot`.
ENTITY, AS_OF, DEGRADED = "entity", "as_of", "degraded"

_DIGITS = 32
_ANSWERS_WAITING = 1_024
_ROWS_A_FILE = 100_000
_SECONDS_A_FILE = 60.0
_LONGEST_WAIT = 1.0


class ServedLog:
    """Keeps a share of the answers below a folder.

    `on_done` is told what became of answers: `kept`, `dropped` (there was no room) or `failed` (the disk refused).
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
        pending: dict[str, list[FeatureVectors]] = {}
        rows, since = 0, time.monotonic()
        while True:
            is_last = False
            try:
                answer = self._waiting.get(timeout=min(_LONGEST_WAIT, self._seconds))
                is_last = answer is None
                if answer is not None:
                    pending.setdefault(answer.service, []).append(answer)
                    rows += answer.rows
            except queue.Empty:
                pass
            is_due = rows >= _ROWS_A_FILE or time.monotonic() - since >= self._seconds
            if pending and (is_due or is_last):
                self._write(pending)
                pending = {}
            if not pending:
                rows, since = 0, time.monotonic() if is_due or rows else since
            if is_last:
                return

    def _write(self, pending: Mapping[str, Sequence[FeatureVectors]]) -> None:
        for service, answers in pending.items():
            try:
                self._write_file(service, answers)
            except OSError:
                # A full disk must not end the log, and a log must not end the serving.
                self._on_done("failed", len(answers))
            else:
                self._on_done("kept", len(answers))

    def _write_file(self, service: str, answers: Sequence[FeatureVectors]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = [logged(answer, self._secret) for answer in answers]
        folder = self._folder / service
        folder.mkdir(parents=True, exist_ok=True)
        self._files += 1
        name = f"{clock.now():%Y%m%dT%H%M%S}-{os.getpid()}-{self._files:06}.parquet"
        beside = folder / f".{name}.new"
        pq.write_table(
            pa.concat_tables(tables, promote_options="default"), beside, compression="zstd"
        )
        beside.replace(folder / name)


def logged(answer: FeatureVectors, secret: bytes) -> pa.Table:
    """An answer as the log keeps it: hashed keys, values, statuses, event times and snapshots."""
    import pyarrow as pa

    table = answer.to_arrow().drop_columns(list(answer.keys)).replace_schema_metadata(None)
    plain = [
        table.column(at).cast(pa.string())
        if pa.types.is_dictionary(field.type)
        else table.column(at)
        for at, field in enumerate(table.schema)
    ]
    columns: dict[str, Any] = {
        ENTITY: pa.array(hashed(answer.keys, secret), pa.string()),
        AS_OF: pa.array([answer.as_of] * answer.rows, pa.timestamp("us", "UTC")),
        DEGRADED: pa.array([answer.degraded] * answer.rows, pa.string()),
        **dict(zip(table.column_names, plain, strict=True)),
    }
    for view in answer.views:
        columns[f"{view.view}__snapshot"] = pa.array([view.snapshot] * answer.rows, pa.string())
    return pa.table(columns)


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
