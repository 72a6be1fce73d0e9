"""One run's rows, deletes and marks, through the connections that its record names."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from exporters.changed_rows import changed_column
from exporters.redis.entity_keys import key_commands
from exporters.redis.job import last_record
from exporters.redis.strays import KeyLedger
from featmill.errors import LakeError
from featmill.online.codec import (
    changed_commands,
    check_columns,
    delete_commands,
    pieces,
    redis_keys,
    write_commands,
)
from featmill.online.expiry import REPLIES_PER_ROW, expire_commands, keep_commands
from featmill.online.live import live_key, mark_command
from featmill.online.plan import feature_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from featmill.online.expiry import KeyExpiry
    from featmill.online.live import LiveRecord
    from featmill.online.pipeline import Pipeline
    from featmill.online.plan import ViewPlan
    from featmill.online.row_bytes import Bytes, Mask
    from featmill.online.topology import Topology

#: Rows between two marks in the journal: what a killed run may have to write again.
_MARK_ROWS = 20_000

#: Keys of the store that are looked at and taken away at once.
_PAGE = 10_000


class OtherWriter(Exception):
    """The live record carries the mark of another run."""


class HalfRow(Exception):
    """Of a row that was to be there only some fields are: the store had lost it."""


class Run:
    """One run: of one entity, what is sent later is executed later."""

    def __init__(
        self,
        pipeline: Pipeline,
        plan: ViewPlan,
        record: LiveRecord,
        on_mark: Callable[[int, int], None],
        expiry: KeyExpiry | None,
    ) -> None:
        self.record = record
        self._pipeline = pipeline
        self._plan = plan
        self._on_mark = on_mark
        self._expiry = expiry
        self._deleted = 0
        fields = (feature_field(plan.view, name) for name in record.dropped)
        self._dropped = tuple(field for field in fields if field not in plan.fields)

    @property
    def sent_bytes(self) -> int:
        """Bytes of all commands so far."""
        return self._pipeline.sent_bytes

    def write(self, rows: pa.RecordBatchReader, *, is_again: bool = False) -> int:
        """Send every row that is not known to be there; returns how many.

        `is_again` says that a run before may have sent some of them in part: whether all the rest was there nobody saw.

        Raises:
            HalfRow: a row that was to be there is not.
        """
        first = position = marked = self.record.position
        for piece in _pieces_after(rows, position):
            if self.record.differing is None or is_again:
                self._pipeline.send_rows(self._plan, piece, partial(write_commands, self._plan))
            else:
                self._send_changed(piece)
            if self._dropped:
                self._send_delete(piece, self._dropped)
            self._send_expiry(piece)
            position += piece.num_rows
            if position - marked >= _MARK_ROWS:
                self._mark(self.record.model_copy(update={"position": position}))
                marked = position
        if position != self.record.to_write:
            raise self._miscounted(self.record.to_write, position)
        return position - first

    def delete(self, keys: pa.RecordBatchReader) -> int:
        """Take away these entities; returns how many were there."""
        check_columns(self._plan, keys.schema, keys_only=True)
        for piece in _pieces_after(keys, 0):
            self._send_delete(piece, (*self._plan.fields, *self._dropped), self._count_deleted)
        self._pipeline.finish()
        return self._deleted

    def sweep(self, topology: Topology, rows: pa.RecordBatchReader) -> int:
        """Take away every entity in the store that is not among all of the rows; returns how many there were.

        Raises:
            LakeError: these are not all rows.
        """
        fields = (*self._plan.fields, *self._dropped)
        with KeyLedger(self._plan) as ledger:
            seen = 0
            for batch in rows:
                ledger.add(redis_keys(self._plan, batch))
                seen += batch.num_rows
            if seen != self.record.rows:
                raise self._miscounted(self.record.rows, seen)
            strays = ledger.strays(topology)
            while page := list(islice(strays, _PAGE)):
                keys = pa.array(page, pa.large_binary())
                encode = partial(key_commands, b"HDEL", fields=fields)
                self._pipeline.send_keys(keys, encode, self._count_deleted)
                self._pipeline.finish()
        return self._deleted

    def settle(self) -> None:
        """Wait until everything sent was answered."""
        self._pipeline.finish()

    def finish(self) -> None:
        """Wait until everything sent was answered, then say so in the record."""
        self._mark(self.record.model_copy(update={"position": self.record.to_write}))
        self._pipeline.finish()
        self._mark(last_record(self.record))
        self._pipeline.finish()

    def _miscounted(self, expected: int, read: int) -> LakeError:
        return LakeError(
            f"{self._plan.view}: snapshot {self.record.snapshot_id} should have {expected} rows, {read} were read",
            hint="the published table changed, or the rows were not read whole",
        )

    def _send_changed(self, piece: pa.RecordBatch) -> None:
        """What differs of each row; the whole row where it is new, or may be gone."""
        is_whole = _changed_flags(self._plan, piece).all(axis=1)
        whole, part = piece.filter(pa.array(is_whole)), piece.filter(pa.array(~is_whole))
        if whole.num_rows > 0:
            self._pipeline.send_rows(self._plan, whole, partial(write_commands, self._plan))
        if part.num_rows > 0:
            encode = partial(_changed_commands, self._plan)
            self._pipeline.send_rows(self._plan, part, encode, _refuse_new)

    def _send_expiry(self, piece: pa.RecordBatch) -> None:
        """Behind the rows: a key that is new has none yet, an older one's may end before the new row's ttl."""
        if self._expiry is not None:
            limits = (self._expiry.ttl_us, self._expiry.grace_us, self._expiry.floor_us)
            self._pipeline.send_rows(
                self._plan,
                piece,
                lambda part: expire_commands(self._plan, part, *limits),
                replies_per_row=REPLIES_PER_ROW,
            )
        elif self.record.may_expire:
            self._pipeline.send_rows(self._plan, piece, partial(keep_commands, self._plan))

    def _send_delete(
        self,
        piece: pa.RecordBatch,
        fields: tuple[bytes, ...],
        on_reply: Callable[[int], None] | None = None,
    ) -> None:
        encode = partial(delete_commands, self._plan, fields=fields)
        self._pipeline.send_rows(self._plan, piece, encode, on_reply)

    def _count_deleted(self, fields: int) -> None:
        self._deleted += fields > 0

    def _mark(self, record: LiveRecord) -> None:
        key = live_key(self._plan.project)
        command = mark_command(self._plan.project, self._plan.view, record)
        marked = partial(self._marked, record.position)
        self._pipeline.send_key(key, command, 1, marked, after_all=True)

    def _marked(self, position: int, was_own: int) -> None:
        """Take the reply of a mark: whether the record was ours still."""
        if not was_own:
            raise OtherWriter
        self._on_mark(position, self.record.to_write)


def _refuse_new(fields: int) -> None:
    """Take the reply of an HSET to a row that is there: how many of the fields were not."""
    if fields:
        raise HalfRow


def _changed_commands(plan: ViewPlan, piece: pa.RecordBatch) -> Bytes:
    """What of each row changed, as its flags say."""
    return changed_commands(plan, piece, _changed_flags(plan, piece))


def _changed_flags(plan: ViewPlan, piece: pa.RecordBatch) -> Mask:
    """Which features of each row changed, `(rows, features)`."""
    flags: list[Any] = [
        piece.column(changed_column(feature.name)).to_numpy(zero_copy_only=False)
        for feature in plan.features
    ]
    if not flags:
        return np.zeros((piece.num_rows, 0), np.bool_)
    return np.column_stack(flags).astype(np.bool_)


def _pieces_after(rows: pa.RecordBatchReader, skip: int) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        if skip < batch.num_rows:
            yield from pieces(batch.slice(skip))
        skip = max(0, skip - batch.num_rows)
