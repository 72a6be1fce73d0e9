"""Feast's bytes: the field numbers of its protobuf messages, and what it writes for no value."""

from __future__ import annotations

from featmill.contract.types import OnlineKind

#: The tag of each kind's field of `Value`: field number and wire type.
TAGS: dict[OnlineKind, int] = {
    OnlineKind.BYTES: 0x0A,
    OnlineKind.STRING: 0x12,
    OnlineKind.INT32: 0x18,
    OnlineKind.INT64: 0x20,
    OnlineKind.DOUBLE: 0x29,
    OnlineKind.FLOAT: 0x35,
    OnlineKind.BOOL: 0x38,
    OnlineKind.UNIX_TIMESTAMP: 0x40,
}

#: The tag of each kind's list in `Value`: the field numbers from 16 on take two bytes.
LIST_TAGS: dict[OnlineKind, bytes] = {
    OnlineKind.BYTES: b"\x5a",
    OnlineKind.STRING: b"\x62",
    OnlineKind.INT32: b"\x6a",
    OnlineKind.INT64: b"\x72",
    OnlineKind.DOUBLE: b"\x7a",
    OnlineKind.FLOAT: b"\x82\x01",
    OnlineKind.BOOL: b"\x8a\x01",
    OnlineKind.UNIX_TIMESTAMP: b"\x92\x01",
}

#: The tag of the one field of every list message: packed numbers, or each element of bytes.
ELEMENTS_TAG = 0x0A

#: Tags of the two fields of protobuf's `Timestamp`.
SECONDS_TAG, NANOS_TAG = 0x08, 0x10

#: What Feast writes for a NULL timestamp where it cannot leave the value out.
NULL_SECONDS = -(1 << 63)
