"""One online value at a time, without NumPy or protobuf: what a read of a few entities decodes with.

`value_decoder` looks a column's type up once and gives a function of one reply. A NULL and an
absent field are both None. `columns` does the same for many replies at once.
"""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from featmill.contract.types import OnlineKind
from featmill.errors import EncodingError
from featmill.online.wire_format import NANOS_TAG, NULL_SECONDS, SECONDS_TAG, TAGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from featmill.contract.types import FeatureType

    Decoder = Callable[[bytes | None], Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SECONDS_A_DAY = 86_400

_EPOCH_DAY = date(1970, 1, 1).toordinal()

_MICROS = 1_000_000


@cache
def value_decoder(column: FeatureType, name: str = "") -> Decoder:
    """The function from one reply of a column to its Python value.

    It raises an `EncodingError`, naming the column, on bytes that are no Feast value of the type.
    """
    if column.is_list:
        from featmill.online.one_list import list_decoder

        return list_decoder(column, described(column, name))
    kind, what = column.kind, described(column, name)
    if kind is OnlineKind.DOUBLE:
        return _real(struct.Struct("<d"), TAGS[kind], what)
    if kind is OnlineKind.FLOAT:
        return _real(struct.Struct("<f"), TAGS[kind], what)
    if kind is OnlineKind.STRING:
        return _text(TAGS[kind], what)
    if kind is OnlineKind.BYTES:
        return _binary(TAGS[kind], what)
    if kind is OnlineKind.BOOL:
        return _bool(TAGS[kind], what)
    moment = moment_of(column)
    if moment is None:
        return _integer(TAGS[kind], what)
    return _moment(TAGS[kind], what, moment)


def event_time(data: bytes | None) -> int | None:
    """The microseconds since 1970 of a `Timestamp` message; None of a field that is not there.

    Raises:
        EncodingError: the bytes are no `Timestamp`.
    """
    if data is None:
        return None
    seconds = nanos = at = 0
    try:
        if data and data[0] == SECONDS_TAG:
            seconds, at = varint_at(data, 1)
        if at < len(data) and data[at] == NANOS_TAG:
            nanos, at = varint_at(data, at + 1)
    except IndexError:
        raise no_event_time(data) from None
    if at != len(data):
        raise no_event_time(data)
    return signed(seconds) * _MICROS + nanos // 1000


def described(column: FeatureType, name: str) -> str:
    """What an error calls the column."""
    return f"column {name!r}" if name else f"a column of type {column.sql}"


def not_a_value(what: str, data: bytes) -> EncodingError:
    """The error for bytes that are no value of a column."""
    shown = data[:32].hex() + ("..." if len(data) > 32 else "")
    return EncodingError(
        f"{what} holds 0x{shown} online, which is no value of its type",
        hint="`featmill verify` shows every value that is not what was published",
    )


def no_event_time(data: bytes) -> EncodingError:
    """The error for bytes that are no event time."""
    return EncodingError(f"an event time is 0x{data[:32].hex()} online, which is no Timestamp")


def moment_of(column: FeatureType) -> Callable[[int], date | None] | None:
    """How a column's stored integer becomes a date or a moment; None where it is a number."""
    if column.kind is OnlineKind.UNIX_TIMESTAMP:
        return day_at if is_date(column) else second_at
    is_micros = column.kind is OnlineKind.INT64 and element_sql(column).startswith("TIMESTAMP")
    return micro_at if is_micros else None


def is_date(column: FeatureType) -> bool:
    """Whether the contract's type is DATE, or a list of them."""
    return element_sql(column).removesuffix(")") == "DATE"


def element_sql(column: FeatureType) -> str:
    """The contract's type, of a list that of its elements."""
    return column.sql.removeprefix("LIST(").split("[", 1)[0] if column.is_list else column.sql


def second_at(seconds: int) -> datetime | None:
    """The moment of a number of seconds; Feast's number for a NULL is None."""
    return None if seconds == NULL_SECONDS else datetime.fromtimestamp(seconds, UTC)


def day_at(seconds: int) -> date | None:
    """The day that begins at a number of seconds; Feast's number for a NULL is None."""
    if seconds == NULL_SECONDS:
        return None
    return date.fromordinal(seconds // SECONDS_A_DAY + _EPOCH_DAY)


def micro_at(micros: int) -> datetime:
    """The moment of a number of microseconds."""
    return EPOCH + timedelta(microseconds=micros)


def varint_at(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned integer that begins at a place, and the place after it."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, at
        shift += 7


def signed(number: int) -> int:
    """An unsigned 64-bit integer's bits as a signed one."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _real(layout: struct.Struct, tag: int, what: str) -> Decoder:
    width, unpack = layout.size + 1, layout.unpack_from

    def decode(data: bytes | None) -> float | None:
        if not data:
            return None
        if len(data) != width or data[0] != tag:
            raise not_a_value(what, data)
        number: float = unpack(data, 1)[0]
        return number

    return decode


def _integer(tag: int, what: str) -> Decoder:
    def decode(data: bytes | None) -> int | None:
        if not data:
            return None
        size = len(data)
        if size == 2 and data[0] == tag and data[1] < 0x80:
            return data[1]
        if size == 3 and data[0] == tag and data[1] > 0x7F > data[2] > 0:
            return data[1] & 0x7F | data[2] << 7
        if 3 < size < 7 and data[0] == tag:
            number = _short_varint(data, size)
            if number is not None:
                return number
        return _whole_varint(data, tag, what)

    return decode


def _short_varint(data: bytes, size: int) -> int | None:
    """The integer of three to five bytes after the tag, None where they are not just one: without a loop.

    Most counts and amounts are of this length, and a read of one entity spends its time here.
    """
    if size == 4:
        _, a, b, c = data
        return a & 0x7F | (b & 0x7F) << 7 | c << 14 if a & b > 0x7F > c > 0 else None
    if size == 5:
        _, a, b, c, d = data
        tail = (c & 0x7F) << 14 | d << 21
        return a & 0x7F | (b & 0x7F) << 7 | tail if a & b & c > 0x7F > d > 0 else None
    _, a, b, c, d, e = data
    tail = (c & 0x7F) << 14 | (d & 0x7F) << 21 | e << 28
    return a & 0x7F | (b & 0x7F) << 7 | tail if a & b & c & d > 0x7F > e > 0 else None


def _bool(tag: int, what: str) -> Decoder:
    def decode(data: bytes | None) -> bool | None:
        if not data:
            return None
        return _whole_varint(data, tag, what) != 0

    return decode


def _moment(tag: int, what: str, moment: Callable[[int], date | None]) -> Decoder:
    def decode(data: bytes | None) -> date | None:
        if not data:
            return None
        try:
            return moment(_whole_varint(data, tag, what))
        except (OverflowError, ValueError, OSError):
            raise not_a_value(what, data) from None

    return decode


def _text(tag: int, what: str) -> Decoder:
    def decode(data: bytes | None) -> str | None:
        if not data:
            return None
        try:
            if len(data) == data[1] + 2 and data[0] == tag and data[1] < 0x80:
                return data[2:].decode()
            return _content(data, tag, what).decode()
        except (IndexError, UnicodeDecodeError):
            raise not_a_value(what, data) from None

    return decode


def _binary(tag: int, what: str) -> Decoder:
    def decode(data: bytes | None) -> bytes | None:
        if not data:
            return None
        return _content(data, tag, what)

    return decode


def _whole_varint(data: bytes, tag: int, what: str) -> int:
    if data[0] == tag and 2 <= len(data) <= 11 and data[-1] < 0x80:
        number, after = varint_at(data, 1)
        if after == len(data):
            return signed(number)
    raise not_a_value(what, data)


def _content(data: bytes, tag: int, what: str) -> bytes:
    try:
        size, at = varint_at(data, 1)
    except IndexError:
        raise not_a_value(what, data) from None
    if data[0] != tag or at + size != len(data):
        raise not_a_value(what, data)
    return data[at:]
