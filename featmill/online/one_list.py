"""One online list at a time, without NumPy or protobuf: see `one_value`."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from featmill.contract.types import OnlineKind
from featmill.online.one_value import moment_of, not_a_value, signed, varint_at
from featmill.online.wire_format import ELEMENTS_TAG, LIST_TAGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from featmill.contract.types import FeatureType

    Elements = Callable[[bytes], list[Any]]

_FORMATS = {OnlineKind.DOUBLE: "d", OnlineKind.FLOAT: "f"}


def list_decoder(column: FeatureType, what: str) -> Callable[[bytes | None], list[Any] | None]:
    """The function from one reply of a column of lists to its Python list.

    It raises an `EncodingError` on bytes that are no list of the type.
    """
    tag, elements = LIST_TAGS[column.kind], _elements(column)
    width = len(tag)

    def decode(data: bytes | None) -> list[Any] | None:
        if not data:
            return None
        if not data.startswith(tag):
            raise not_a_value(what, data)
        try:
            size, at = varint_at(data, width)
            if at + size != len(data):
                raise not_a_value(what, data)
            return elements(data[at:])
        # UnicodeDecodeError is a ValueError.
        except (IndexError, ValueError, OverflowError, OSError, struct.error):
            raise not_a_value(what, data) from None

    return decode


def _elements(column: FeatureType) -> Elements:
    """What reads the list's own message; it raises on bytes that are none."""
    kind = column.kind
    if kind is OnlineKind.STRING:
        return lambda data: [text.decode() for text in _fields(data)]
    if kind is OnlineKind.BYTES:
        return _fields
    code = _FORMATS.get(kind)
    if code is not None:
        width = struct.calcsize(code)
        return lambda data: _reals(_packed(data), code, width)
    if kind is OnlineKind.BOOL:
        return lambda data: [number != 0 for number in _integers(_packed(data))]
    moment = moment_of(column)
    if moment is None:
        return lambda data: _integers(_packed(data))
    return lambda data: [moment(number) for number in _integers(_packed(data))]


def _reals(data: bytes, code: str, width: int) -> list[float]:
    return list(struct.unpack(f"<{len(data) // width}{code}", data))


def _packed(data: bytes) -> bytes:
    """The bytes of packed numbers; none where the list is empty."""
    if not data:
        return data
    size, at = varint_at(data, 1)
    if data[0] != ELEMENTS_TAG or at + size != len(data):
        raise ValueError
    return data[at:]


def _integers(data: bytes) -> list[int]:
    found = []
    at = 0
    while at < len(data):
        start = at
        number, at = varint_at(data, at)
        if at - start > _VARINT_BYTES:
            raise ValueError
        found.append(signed(number))
    return found


def _fields(data: bytes) -> list[bytes]:
    """The elements that are a field each."""
    found = []
    at = 0
    while at < len(data):
        if data[at] != ELEMENTS_TAG:
            raise ValueError
        size, at = varint_at(data, at + 1)
        if at + size > len(data):
            raise ValueError
        found.append(data[at : at + size])
        at += size
    return found


_VARINT_BYTES = 10
