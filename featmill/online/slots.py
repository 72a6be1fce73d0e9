"""Which of a cluster's 16,384 slots a key is in, for many keys at once.

A slot is the CRC-16 (XMODEM: polynomial 0x1021, start 0) of the key modulo 16384. A key with a `{`, and after it a `}`
that is not the next byte, is hashed by what lies between: the *hash tag*. The source is the cluster specification of
Redis and Valkey. An entity's key is binary, so its lengths and numbers may happen to hold these two bytes.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

import numpy as np

from featmill.online.row_bytes import binary_data, binary_offsets

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from featmill.online.row_bytes import Bytes, Lengths

SLOTS = 16_384

_OPEN, _CLOSE = ord("{"), ord("}")

#: Longer stretches are left to the C function, one by one: a step of the loop below costs as much for one key as for
#: a thousand.
_LONG = 256

#: Fewer keys are faster one by one.
_SMALLEST = 32


def key_slot(key: bytes) -> int:
    """The slot of one key."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1) if start >= 0 else -1
    tagged = key[start + 1 : end] if end > start + 1 else key
    return binascii.crc_hqx(tagged, 0) % SLOTS


def key_slots(keys: pa.LargeBinaryArray) -> NDArray[np.int64]:
    """The slot of each key; the keys are not NULL."""
    if len(keys) < _SMALLEST:
        return np.array([key_slot(key) for key in keys.to_pylist()], np.int64)
    data = binary_data(keys)
    offsets = binary_offsets(keys) - binary_offsets(keys)[0]
    starts, ends = _tags(data, offsets[:-1], offsets[1:])
    slots: NDArray[np.int64] = _crc16(data, starts, ends).astype(np.int64) % SLOTS
    return slots


def _tags(data: Bytes, starts: Lengths, ends: Lengths) -> tuple[Lengths, Lengths]:
    """Where the hashed part of each key begins and ends."""
    opened = _first(np.flatnonzero(data == _OPEN), starts, ends)
    closed = _first(np.flatnonzero(data == _CLOSE), opened + 1, ends)
    has_tag = (closed < ends) & (closed > opened + 1)
    return np.where(has_tag, opened + 1, starts), np.where(has_tag, closed, ends)


def _first(places: Lengths, starts: Lengths, ends: Lengths) -> Lengths:
    """The first place at or after each start; the end where there is none before it."""
    if len(places) == 0:
        return ends
    at = np.searchsorted(places, starts)
    found = places[np.minimum(at, len(places) - 1)]
    return np.where((at < len(places)) & (found < ends), found, ends)


def _crc16(data: Bytes, starts: Lengths, ends: Lengths) -> NDArray[np.uint16]:
    lengths = ends - starts
    crc = np.zeros(len(starts), np.uint16)
    for row in np.flatnonzero(lengths > _LONG):
        crc[row] = binascii.crc_hqx(data[starts[row] : ends[row]].tobytes(), 0)
    # Longest first, so that the keys which still have a byte are always the first so many.
    lengths = np.where(lengths > _LONG, 0, lengths)
    order = np.argsort(-lengths, kind="stable")
    at = starts[order]
    ordered = lengths[order]
    left = np.searchsorted(-ordered, -np.arange(int(ordered.max(initial=0))), side="left")
    value = np.zeros(len(starts), np.uint16)
    for step, alive in enumerate(left.tolist()):
        part = value[:alive]
        byte = data[at[:alive] + step]
        value[:alive] = (part << 8) ^ _TABLE[(part >> 8) ^ byte]
    is_short = lengths[order] > 0
    crc[order[is_short]] = value[is_short]
    return crc


def _table() -> NDArray[np.uint16]:
    """What each value of the upper byte contributes."""
    return np.array([binascii.crc_hqx(bytes([byte]), 0) for byte in range(256)], np.uint16)


_TABLE = _table()
