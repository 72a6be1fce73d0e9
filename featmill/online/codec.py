"""A view's rows as Redis commands, and as the replies Redis must give, in Feast's own bytes.

One hash per entity; its key is Feast's entity key (version 3) followed by the project's name. Every
function takes a record batch and does the same work for all of its rows at once.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from featmill.contract.types import OnlineKind
from featmill.errors import EncodingError
from featmill.online.arrow_forms import binaries, integers, plain
from featmill.online.decode import key_text
from featmill.online.lists import append_list, row_with_null
from featmill.online.plan import KEY_TYPES, KEY_WIDTHS
from featmill.online.row_bytes import (
    CRLF,
    RowBytes,
    SlotsWhere,
    binary_lengths,
    bulk,
    bulk_prefix,
    choices,
    fixed_bytes,
)
from featmill.online.values import append_event_time, append_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from featmill.online.plan import OnlineColumn, ViewPlan
    from featmill.online.row_bytes import Bytes, Lengths, Mask, Slots

#: A batch is cut into pieces of at most this many rows and this many bytes of Arrow data, so memory
#: stays bounded whatever the reader's batches are. Between 1024 and 4096 rows no difference could be
#: told from noise; at 256 the cost per piece shows.
_PIECE_ROWS = 2048
_PIECE_BYTES = 4 << 20


def pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch into pieces small enough to encode at once, in order."""
    for start in range(0, batch.num_rows, _PIECE_ROWS):
        yield from _halves(batch.slice(start, _PIECE_ROWS))


def _halves(piece: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if piece.nbytes <= _PIECE_BYTES or piece.num_rows <= 1:
        yield piece
        return
    middle = piece.num_rows // 2
    yield from _halves(piece.slice(0, middle))
    yield from _halves(piece.slice(middle))


def check_columns(plan: ViewPlan, schema: pa.Schema, *, keys_only: bool = False) -> None:
    """Refuse rows that lack a column of the plan.

    Raises:
        EncodingError: the message names the missing columns.
    """
    needed = [key.name for key in plan.keys]
    if not keys_only:
        needed += [plan.event_time, *(feature.name for feature in plan.features)]
    missing = [name for name in needed if name not in schema.names]
    if missing:
        raise EncodingError(f"{plan.view}: the rows have no column {', '.join(missing)}")


def redis_keys(plan: ViewPlan, batch: pa.RecordBatch) -> pa.LargeBinaryArray:
    """The Redis key of each row."""
    out = RowBytes(batch.num_rows)
    _KeyBytes(plan, batch).append(out)
    return out.array()


def write_commands(plan: ViewPlan, batch: pa.RecordBatch) -> Bytes:
    """One HSET a row with every field of the view: a reader sees all of a row or none of it."""
    out = _command(plan, batch, b"HSET", 2 + 2 * len(plan.fields))
    out.constant(bulk(plan.time_field))
    append_event_time(out, batch.column(plan.event_time), plan.event_time)
    for feature in plan.features:
        out.constant(bulk(feature.field))
        _append_feature(out, plan, batch, feature)
    return out.stream()


def changed_commands(plan: ViewPlan, batch: pa.RecordBatch, changed: Mask) -> Bytes:
    """One HSET a row with its event time and those features that `changed` says, and no other.

    `changed` is a `(rows, features)` mask in the plan's order; a row without a change still gets
    its event time.
    """
    expected = (batch.num_rows, len(plan.features))
    if changed.shape != expected:
        raise EncodingError(
            f"{plan.view}: the changes are marked for {changed.shape[0]} rows of "
            f"{changed.shape[-1]} features, and there are {expected[0]} of {expected[1]}"
        )
    out = RowBytes(batch.num_rows)
    counts = changed.sum(axis=1)
    headers, lengths = choices([b"*%d\r\n" % (4 + 2 * n) for n in range(expected[1] + 1)])
    out.ragged(headers[counts], lengths[counts])
    out.constant(bulk(b"HSET"))
    append_key(out, plan, batch)
    out.constant(bulk(plan.time_field))
    append_event_time(out, batch.column(plan.event_time), plan.event_time)
    for place, feature in enumerate(plan.features):
        mask = np.ascontiguousarray(changed[:, place])
        if mask.any():
            where = SlotsWhere(out, mask)
            where.constant(bulk(feature.field))
            _append_feature(where, plan, batch, feature)
    return out.stream()


def read_commands(plan: ViewPlan, batch: pa.RecordBatch) -> Bytes:
    """One HMGET a row of every field of the view."""
    out = _command(plan, batch, b"HMGET", 2 + len(plan.fields))
    out.constant(b"".join(bulk(field) for field in plan.fields))
    return out.stream()


def expected_replies(plan: ViewPlan, batch: pa.RecordBatch) -> Bytes:
    """What Redis must answer `read_commands` with if it holds exactly these rows."""
    out = RowBytes(batch.num_rows)
    out.constant(b"*%d\r\n" % len(plan.fields))
    for feature in plan.features:
        _append_feature(out, plan, batch, feature)
    append_event_time(out, batch.column(plan.event_time), plan.event_time)
    return out.stream()


def delete_commands(plan: ViewPlan, batch: pa.RecordBatch, fields: Sequence[bytes]) -> Bytes:
    """One HDEL a row: other views may share the hash. Redis drops a hash with its last field."""
    out = _command(plan, batch, b"HDEL", 2 + len(fields))
    out.constant(b"".join(bulk(field) for field in fields))
    return out.stream()


def exists_commands(plan: ViewPlan, keys: pa.LargeBinaryArray) -> Bytes:
    """One HEXISTS of the view's event time for each Redis key."""
    out = RowBytes(len(keys))
    lengths = binary_lengths(keys)
    out.constant(b"*3\r\n$7\r\nHEXISTS\r\n")
    bulk_prefix(out, lengths)
    out.binary(keys, lengths)
    out.constant(CRLF + bulk(plan.time_field))
    return out.stream()


def _command(plan: ViewPlan, batch: pa.RecordBatch, name: bytes, arguments: int) -> RowBytes:
    """A command per row up to and including its key."""
    out = RowBytes(batch.num_rows)
    out.constant(b"*%d\r\n%b" % (arguments, bulk(name)))
    append_key(out, plan, batch)
    return out


def _append_feature(
    out: Slots, plan: ViewPlan, batch: pa.RecordBatch, feature: OnlineColumn
) -> None:
    """Each row's value of a feature as one RESP bulk string."""
    column = batch.column(feature.name)
    if not feature.is_list:
        append_value(out, column, feature.kind, feature.name)
        return
    place = row_with_null(column)
    if place is not None:
        entity = key_text(plan, redis_keys(plan, batch.slice(place, 1))[0].as_py())
        raise EncodingError(
            f"{plan.view}: column {feature.name!r} holds a list with a NULL in it, first for "
            f"{entity}; Feast would write a zero or an empty text instead",
            hint=f"leave them out: list_filter({feature.name}, x -> x IS NOT NULL)",
        )
    append_list(out, column, feature.kind, feature.name)


def append_key(out: RowBytes, plan: ViewPlan, batch: pa.RecordBatch) -> None:
    """Each row's key as one RESP bulk string."""
    key = _KeyBytes(plan, batch)
    if isinstance(key.lengths, int):
        out.constant(b"$%d\r\n" % key.lengths)
    else:
        bulk_prefix(out, key.lengths)
    key.append(out)
    out.constant(CRLF)


class _KeyBytes:
    """The key columns of a batch.

    `lengths`, of the whole keys, is one number where it cannot differ by row.
    """

    def __init__(self, plan: ViewPlan, batch: pa.RecordBatch) -> None:
        self._plan = plan
        self._columns = [(key, _key_column(batch, key)) for key in plan.keys]
        total = len(plan.key_prefix) + len(plan.key_suffix) + 8 * len(plan.keys)
        total += sum(KEY_WIDTHS.get(key.kind, 0) for key in plan.keys)
        ragged = [binary_lengths(column) for key, column in self._columns if _is_ragged(key)]
        self.lengths: Lengths | int = total
        for lengths in ragged:
            self.lengths = lengths + self.lengths

    def append(self, out: RowBytes) -> None:
        out.constant(self._plan.key_prefix)
        for key, column in self._columns:
            out.constant(struct.pack("<I", KEY_TYPES[key.kind]))
            if _is_ragged(key):
                lengths = binary_lengths(column)
                out.fixed(fixed_bytes(lengths, "<u4"))
                out.binary(column, lengths)
            else:
                width = KEY_WIDTHS[key.kind]
                out.constant(struct.pack("<I", width))
                out.fixed(fixed_bytes(integers(column, key.kind, key.name), f"<i{width}"))
        out.constant(self._plan.key_suffix)


def _is_ragged(key: OnlineColumn) -> bool:
    return key.kind in (OnlineKind.STRING, OnlineKind.BYTES)


def _key_column(batch: pa.RecordBatch, key: OnlineColumn) -> pa.Array:
    column = plain(batch.column(key.name))
    if column.null_count > 0:
        raise EncodingError(f"join key {key.name!r} is NULL in {column.null_count} rows")
    return binaries(column, key.kind, key.name) if _is_ragged(key) else column
