"""Online bytes in words, for people: what `verify` shows where a value differs.

Nothing that serves a value goes through here. Bytes that are not what Feast writes are shown as
they are.
"""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from featmill.contract.types import FeatureType, OnlineKind
from featmill.errors import EncodingError
from featmill.online.one_value import value_decoder
from featmill.online.plan import KEY_TYPES
from featmill.online.wire_format import LIST_TAGS, NANOS_TAG, SECONDS_TAG, TAGS

if TYPE_CHECKING:
    from featmill.online.plan import ViewPlan

MISSING = "missing"
NULL = "NULL"

_KINDS = {tag: kind for kind, tag in TAGS.items()}
_LISTS = {tag: FeatureType("", kind, is_list=True) for kind, tag in LIST_TAGS.items()}
_KEY_KINDS = {number: kind for kind, number in KEY_TYPES.items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def value_text(data: bytes | None) -> str:
    """A `Value` message as text; None is a field that is not there."""
    if data is None:
        return MISSING
    if not data:
        return NULL
    kind = _KINDS.get(data[0])
    try:
        if kind is not None:
            return _value(kind, data[1:])
        return next(_list(column, data) for tag, column in _LISTS.items() if data.startswith(tag))
    except (ValueError, IndexError, struct.error, OverflowError, StopIteration, EncodingError):
        return _raw(data)


def event_time_text(data: bytes | None) -> str:
    """A `Timestamp` message as text; None is a field that is not there."""
    if data is None:
        return MISSING
    parts = {SECONDS_TAG: 0, NANOS_TAG: 0}
    at = 0
    try:
        while at < len(data):
            if data[at] not in parts:
                return _raw(data)
            parts[data[at]], at = _varint(data, at + 1)
        moment = timedelta(
            seconds=_signed(parts[SECONDS_TAG]), microseconds=parts[NANOS_TAG] // 1000
        )
        return (_EPOCH + moment).isoformat()
    except (IndexError, OverflowError):
        return _raw(data)


def key_text(plan: ViewPlan, key: bytes) -> str:
    """A Redis key as `column=value, ...`."""
    at = len(plan.key_prefix)
    parts = []
    try:
        for column in plan.keys:
            number, length = struct.unpack_from("<II", key, at)
            at += 8
            parts.append(f"{column.name}={_key_value(_KEY_KINDS[number], key[at : at + length])}")
            at += length
    except (KeyError, ValueError, struct.error):
        return _raw(key)
    return ", ".join(parts)


def _value(kind: OnlineKind, data: bytes) -> str:
    if kind is OnlineKind.DOUBLE:
        return repr(struct.unpack("<d", data)[0])
    if kind is OnlineKind.FLOAT:
        # Nine significant digits tell any two float32 apart.
        return f"{struct.unpack('<f', data)[0]:.9g}"
    number, after = _varint(data, 0)
    if kind is OnlineKind.STRING:
        return json.dumps(data[after:].decode(), ensure_ascii=False)
    if kind is OnlineKind.BYTES:
        return _raw(data[after:])
    if kind is OnlineKind.BOOL:
        return "true" if number else "false"
    number = _signed(number)
    return _moment(number) if kind is OnlineKind.UNIX_TIMESTAMP else str(number)


def _list(column: FeatureType, data: bytes) -> str:
    return f"[{', '.join(map(_element, value_decoder(column)(data)))}]"


def _element(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bytes):
        return _raw(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def _key_value(kind: OnlineKind, data: bytes) -> str:
    if kind is OnlineKind.STRING:
        return json.dumps(data.decode(), ensure_ascii=False)
    if kind is OnlineKind.BYTES:
        return _raw(data)
    number = int.from_bytes(data, "little", signed=True)
    return _moment(number) if kind is OnlineKind.UNIX_TIMESTAMP else str(number)


def _moment(seconds: int) -> str:
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        return f"{seconds} s"


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:
            return number, at


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _raw(data: bytes) -> str:
    return "0x" + data.hex()
