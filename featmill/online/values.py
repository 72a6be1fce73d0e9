"""Feast's `Value` messages, a column at a time.

A value is one protobuf field: a tag byte, then a varint, a little-endian number, or a varint length
and bytes. Zero and empty values are written out (the field is in a oneof); NULL and a
floating-point NaN are an empty message, as Feast's own type map has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featmill.contract.types import OnlineKind
from featmill.online.arrow_forms import binaries, event_micros, integers, plain, presence, reals
from featmill.online.row_bytes import (
    CRLF,
    binary_lengths,
    bulk_prefix,
    fixed_bytes,
    varint,
)
from featmill.online.wire_format import NANOS_TAG, SECONDS_TAG, TAGS

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from featmill.online.row_bytes import Bytes, Lengths, Mask, Slots

_MICROS = 1_000_000
_NANOS_A_MICRO = 1_000


def append_value(out: Slots, column: pa.Array, kind: OnlineKind, name: str) -> None:
    """Add a column's values, each as one RESP bulk string holding a `Value` message.

    Raises:
        EncodingError: a value has no exact online form.
    """
    _APPENDERS[kind](out, plain(column), kind, name)


def append_event_time(out: Slots, column: pa.Array, name: str) -> None:
    """Add an event-time column, each value as one RESP bulk string holding a `Timestamp` message.

    Unlike a `Value`, a `Timestamp` leaves zero parts out: the epoch itself is an empty message.
    """
    seconds, micros = np.divmod(event_micros(column, name), _MICROS)
    has_seconds, has_micros = seconds != 0, micros != 0
    seconds_bytes, seconds_lengths = varint(seconds.view(np.uint64))
    nanos_bytes, nanos_lengths = varint((micros * _NANOS_A_MICRO).view(np.uint64))
    seconds_lengths = np.where(has_seconds, seconds_lengths, 0)
    nanos_lengths = np.where(has_micros, nanos_lengths, 0)
    bulk_prefix(out, seconds_lengths + nanos_lengths + has_seconds + has_micros)
    _tag(out, SECONDS_TAG, has_seconds)
    out.ragged(seconds_bytes, seconds_lengths)
    _tag(out, NANOS_TAG, has_micros)
    out.ragged(nanos_bytes, nanos_lengths)
    out.constant(CRLF)


def _append_integers(out: Slots, column: pa.Array, kind: OnlineKind, name: str) -> None:
    # A negative int32 takes ten bytes: protobuf sign-extends it to 64 bits first.
    digits, lengths = varint(integers(column, kind, name).view(np.uint64))
    _append_tagged(out, TAGS[kind], digits, lengths, presence(column))


def _append_reals(out: Slots, column: pa.Array, kind: OnlineKind, name: str) -> None:
    numbers = reals(column, kind, name)
    matrix = fixed_bytes(numbers, numbers.dtype.newbyteorder("<").str)
    width = matrix.shape[1]
    present = presence(column)
    missing: Mask = np.isnan(numbers)
    if missing.any():
        present = ~missing if present is None else present & ~missing
    if present is not None:
        _append_tagged(out, TAGS[kind], matrix, np.full(len(matrix), width, np.int64), present)
        return
    out.constant(b"$%d\r\n%c" % (width + 1, TAGS[kind]))
    out.fixed(matrix)
    out.constant(CRLF)


def _append_binaries(out: Slots, column: pa.Array, kind: OnlineKind, name: str) -> None:
    array = binaries(column, kind, name)
    lengths = binary_lengths(array)
    present = presence(column)
    sizes, size_lengths = varint(lengths.view(np.uint64))
    size_lengths = _where(present, size_lengths)
    bulk_prefix(out, _where(present, 1 + size_lengths + lengths))
    _tag(out, TAGS[kind], present)
    out.ragged(sizes, size_lengths)
    out.binary(array, lengths)
    out.constant(CRLF)


def _append_tagged(
    out: Slots, tag: int, matrix: Bytes, lengths: Lengths, present: Mask | None
) -> None:
    bulk_prefix(out, _where(present, lengths + 1))
    _tag(out, tag, present)
    out.ragged(matrix, _where(present, lengths))
    out.constant(CRLF)


def _tag(out: Slots, tag: int, present: Mask | None) -> None:
    if present is None:
        out.constant(bytes([tag]))
    else:
        out.ragged(np.full((len(present), 1), tag, np.uint8), present.astype(np.int64))


def _where(present: Mask | None, lengths: Lengths) -> Lengths:
    return lengths if present is None else np.where(present, lengths, 0)


_APPENDERS: dict[OnlineKind, Callable[[Slots, pa.Array, OnlineKind, str], None]] = {
    OnlineKind.BOOL: _append_integers,
    OnlineKind.INT32: _append_integers,
    OnlineKind.INT64: _append_integers,
    OnlineKind.UNIX_TIMESTAMP: _append_integers,
    OnlineKind.FLOAT: _append_reals,
    OnlineKind.DOUBLE: _append_reals,
    OnlineKind.STRING: _append_binaries,
    OnlineKind.BYTES: _append_binaries,
}
