"""Many replies of one column decoded at once: the bytes are joined, and read as matrices.

A NULL and an absent field take no bytes, so the joined bytes hold the values that are there and
nothing else: *dense* arrays, which `Replies` spreads over all rows again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featmill.contract.types import OnlineKind
from featmill.errors import EncodingError
from featmill.online.one_value import SECONDS_A_DAY, is_date, moment_of, no_event_time, not_a_value
from featmill.online.row_bytes import binary_array, binary_data, binary_lengths
from featmill.online.wire_format import NANOS_TAG, NULL_SECONDS, SECONDS_TAG, TAGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from featmill.contract.types import FeatureType
    from featmill.online.row_bytes import Bytes, Lengths, Mask

VARINT_BYTES = 10

_MICROS = 1_000_000

REALS = {OnlineKind.DOUBLE: "<f8", OnlineKind.FLOAT: "<f4"}

NUMBER_TYPES = {
    OnlineKind.BOOL: pa.bool_(),
    OnlineKind.INT32: pa.int32(),
    OnlineKind.INT64: pa.int64(),
    OnlineKind.FLOAT: pa.float32(),
    OnlineKind.DOUBLE: pa.float64(),
}

_ONE = np.uint64(1)
_SEVEN_BITS = np.uint64(0x7F)
_TOP_BITS = np.uint64(0x8080808080808080)
_FOLDS = tuple(
    (np.uint64(low), np.uint64(high), np.uint64(shift))
    for low, high, shift in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    )
)

_MOMENT = pa.timestamp("us", "UTC")


class Replies:
    """The replies of one column: the bytes of those that are not empty, and which those are.

    `data` is followed by as many zero bytes as a look past its end may take; `starts` and `lengths`
    are of the replies that are there, `present` is None where all are.
    """

    def __init__(self, replies: Sequence[bytes | None]) -> None:
        array = pa.array(replies, pa.large_binary())
        lengths = binary_lengths(array)
        self.rows = len(lengths)
        there = lengths > 0
        self.present: Mask | None = None if there.all() else there
        self.lengths: Lengths = lengths if self.present is None else lengths[there]
        joined = binary_data(array)
        self.size = len(joined)
        self.data: Bytes = np.concatenate([joined, np.zeros(VARINT_BYTES, np.uint8)])
        ends = np.cumsum(self.lengths)
        self.starts: Lengths = ends - self.lengths
        self.ends: Lengths = ends

    def one(self, place: int) -> bytes:
        """The bytes of one of the replies that are there."""
        return self.data[self.starts[place] : self.ends[place]].tobytes()

    def after(self, places: Lengths) -> Bytes:
        """The bytes of each reply from a place of its own to its end, one after the other."""
        every = np.arange(self.size) >= np.repeat(places, self.lengths)
        return np.ascontiguousarray(self.data[: self.size][every])

    def spread(self, dense: list[Any]) -> list[Any]:
        """Values of the replies that are there, with None for the others."""
        if self.present is None:
            return dense
        values = iter(dense)
        return [next(values) if there else None for there in self.present.tolist()]

    def spread_array(self, dense: NDArray[Any], kind: pa.DataType) -> pa.Array:
        """The same as Arrow."""
        if self.present is None:
            return pa.array(dense, kind)
        values = np.zeros(self.rows, dense.dtype)
        values[self.present] = dense
        return pa.array(values, kind, mask=~self.present)


def numbers(column: FeatureType, replies: Replies, what: str) -> NDArray[Any]:
    """The values of a column of numbers that are there, as they are stored.

    Raises:
        EncodingError: a reply is no value of the column's type.
    """
    tag = TAGS[column.kind]
    dtype = REALS.get(column.kind)
    if dtype is not None:
        width = np.dtype(dtype).itemsize + 1
        require(replies.lengths == width, replies, what)
        cells = replies.data[: replies.size].reshape(-1, width)
        require(cells[:, 0] == tag, replies, what)
        return np.ascontiguousarray(cells[:, 1:]).view(dtype).reshape(-1)
    values, after = varints(replies.data, replies.starts + 1)
    is_whole = (after == replies.ends) & (replies.data[replies.starts] == tag)
    require(is_whole, replies, what)
    found = values.view(np.int64)
    return found != 0 if column.kind is OnlineKind.BOOL else found


def varints(data: Bytes, at: Lengths) -> tuple[NDArray[np.uint64], Lengths]:
    """The unsigned integer that begins at each place, and the place after it.

    `data` goes on for at least nine bytes after the last place. The place after an integer of more
    than ten bytes is -1.
    """
    # Eight bytes from each place as one word: an integer ends with the first byte below 128.
    words = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))[at]
    ends = ~words & _TOP_BITS
    upto = ends ^ (ends - _ONE)  # all bits up to the end's own; all there are where there is no end
    words &= upto & ~_TOP_BITS
    # Of each byte seven bits count: pairs are moved together, then pairs of pairs, then the halves.
    for low, high, shift in _FOLDS:
        words = (words & low) | ((words & high) >> shift)
    after = at + (np.bitwise_count(upto) >> 3)
    long = np.flatnonzero(ends == 0)
    if len(long):
        words[long], after[long] = _long_varints(data, at[long], words[long])
    return words, after


def _long_varints(
    data: Bytes, at: Lengths, low: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], Lengths]:
    """The integers of nine or ten bytes, whose first eight hold `low`; longer ones end at -1."""
    ninth = data[at + 8].astype(np.uint64)
    tenth = np.where(ninth > 0x7F, data[np.minimum(at + 9, len(data) - 1)], 0).astype(np.uint64)
    values = low | (ninth & _SEVEN_BITS) << np.uint64(56) | (tenth & _SEVEN_BITS) << np.uint64(63)
    return values, np.where(tenth > 0x7F, -1, at + np.where(ninth > 0x7F, 10, 9))


def event_micros(replies: Sequence[bytes | None]) -> list[int | None]:
    """The event times of many rows in microseconds since 1970; see `columns.decode_event_times`."""
    found = Replies(replies)
    seconds, at = _field(found, found.starts, SECONDS_TAG)
    nanos, at = _field(found, at, NANOS_TAG)
    wrong = np.flatnonzero(at != found.ends)
    if len(wrong):
        raise no_event_time(found.one(int(wrong[0])))
    micros = seconds.view(np.int64) * _MICROS + nanos.view(np.int64) // 1000
    dense = iter(micros.tolist())
    # The epoch itself is an empty message: not the same as none.
    return [None if reply is None else next(dense) if reply else 0 for reply in replies]


def arrow_values(column: FeatureType, replies: Replies, what: str) -> pa.Array:
    """The values of a column as Arrow; see `columns.decode_array`.

    Raises:
        EncodingError: a reply is no value of the column's type.
    """
    if column.is_list:
        from featmill.online.reply_lists import list_array

        return list_array(column, replies, what)
    if column.kind in (OnlineKind.STRING, OnlineKind.BYTES):
        return _binary_array(column, replies, what)
    found = numbers(column, replies, what)
    if moment_of(column) is None:
        return replies.spread_array(found, NUMBER_TYPES[column.kind])
    return moments(column, replies.spread_array(found, pa.int64()), what)


def moments(column: FeatureType, stored: pa.Array, what: str) -> pa.Array:
    """Stored integers as dates or moments; Feast's number for a NULL is one."""
    if column.kind is OnlineKind.INT64:
        return stored.view(_MOMENT)
    is_null = pc.equal(stored, NULL_SECONDS)
    seconds = pc.if_else(is_null, pa.scalar(None, pa.int64()), stored)
    try:
        if is_date(column):
            return _days(seconds).view(pa.date32())
        return pc.multiply_checked(seconds, _MICROS).view(_MOMENT)
    except pa.ArrowInvalid as error:
        raise EncodingError(f"{what} holds a moment out of range online: {error}") from error


def _days(seconds: pa.Array) -> pa.Array:
    """Whole days, rounded down, as int32."""
    filled = pc.fill_null(seconds, 0).to_numpy(zero_copy_only=False)
    missing = seconds.is_null().to_numpy(zero_copy_only=False)
    return pa.array(filled // SECONDS_A_DAY, pa.int64(), mask=missing).cast(pa.int32())


def _binary_array(column: FeatureType, replies: Replies, what: str) -> pa.Array:
    sizes, content = varints(replies.data, replies.starts + 1)
    is_whole = (content > 0) & (sizes.view(np.int64) == replies.ends - content)
    require(is_whole & (replies.data[replies.starts] == TAGS[column.kind]), replies, what)
    found = text_array(column.kind, (replies.after(content), sizes.view(np.int64)), what)
    if replies.present is None:
        return found
    places = np.cumsum(replies.present) - 1
    return found.take(pa.array(places, mask=~replies.present))


def text_array(kind: OnlineKind, joined: tuple[Bytes, Lengths], what: str) -> pa.Array:
    """Texts, or bytes, that lie one after the other, by their lengths.

    Raises:
        EncodingError: the bytes of a text are no UTF-8.
    """
    array = binary_array(*joined)
    if kind is OnlineKind.BYTES:
        return array
    try:
        return array.cast(pa.large_string())
    except pa.ArrowInvalid as error:
        raise EncodingError(f"{what} holds bytes online that are no text: {error}") from error


def _field(replies: Replies, at: Lengths, tag: int) -> tuple[NDArray[np.uint64], Lengths]:
    """A field that may be left out: its number, 0 without it, and the place after it."""
    has = (at < replies.ends) & (replies.data[np.minimum(at, replies.size)] == tag)
    values, after = varints(replies.data, np.where(has, at + 1, 0))
    return np.where(has, values, np.uint64(0)), np.where(has, after, at)


def require(fits: Mask, replies: Replies, what: str) -> None:
    """Refuse the first reply that does not fit."""
    if not fits.all():
        raise not_a_value(what, replies.one(int(np.argmin(fits))))
