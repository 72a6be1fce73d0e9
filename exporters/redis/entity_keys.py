"""The keys of a project's entities, whatever their join keys: found page by page, and made into commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from featmill.online.row_bytes import (
    CRLF,
    RowBytes,
    binary_data,
    binary_lengths,
    binary_offsets,
    bulk,
    bulk_prefix,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from featmill.online.row_bytes import Bytes, Lengths, Mask

#: Before each name and each value of an entity's key: its type and its length, unsigned 32-bit integers.
_HEADER = 8
_COUNT = 4


def literal(text: bytes) -> bytes:
    r"""Escape what Redis' patterns give a meaning: `a*b` becomes `a\*b`."""
    return re.sub(rb"([*?\[\]\\])", rb"\\\1", text)


def key_pages(
    client: Any,  # noqa: ANN401 - redis-py's types of SCAN are of the asynchronous client too
    project: str,
    *,
    look: int,
    prefix: bytes = b"",
) -> Iterator[pa.LargeBinaryArray]:
    """The keys of the project's entities on one server, for each SCAN that looks at `look` keys; a page may be empty.

    Args:
        client: of that server.
        project: the Feast project, or a generation's rows project.
        look: bounds how long the server is busy at once.
        prefix: what the keys begin with.
    """
    pattern = literal(prefix) + b"*" + literal(project.encode())
    cursor = -1
    while cursor != 0:
        cursor, page = client.scan(max(cursor, 0), match=pattern, count=look, _type="HASH")
        keys = pa.array(page, pa.large_binary())
        yield keys.filter(pa.array(are_entities(project, keys)))


def key_commands(verb: bytes, keys: pa.LargeBinaryArray, fields: Sequence[bytes] = ()) -> Bytes:
    """One command a key, such as HDEL of these fields: the keys of one server of a cluster are of many slots."""
    out = RowBytes(len(keys))
    lengths = binary_lengths(keys)
    out.constant(b"*%d\r\n%b" % (2 + len(fields), bulk(verb)))
    bulk_prefix(out, lengths)
    out.binary(keys, lengths)
    out.constant(CRLF + b"".join(bulk(field) for field in fields))
    return out.stream()


def are_entities(project: str, keys: pa.LargeBinaryArray) -> Mask:
    """Which Redis keys are those of entities of the project, whatever their join keys.

    A pattern cannot tell: the key of a project `workshop` also ends with `shop`. An entity's key is the number of join
    keys, their names, their values, each after its type and length, then the project.
    """
    walk = _Walk(keys)
    counts = walk.take_count()
    # Names first, then as many values: in each step the keys that still have one are one part further.
    for step in range(2 * int(counts.max(initial=0))):
        walk.take_part(step < 2 * counts)
    return walk.ends_with(project.encode()) & (counts > 0)


class _Walk:
    """A place in each of many keys; one that would leave its key is marked and stays."""

    def __init__(self, keys: pa.LargeBinaryArray) -> None:
        offsets: Lengths = binary_offsets(keys) - binary_offsets(keys)[0]
        # Room for a header behind the last key.
        self._data: Bytes = np.concatenate([binary_data(keys), np.zeros(_HEADER, np.uint8)])
        self._at, self._ends = offsets[:-1].copy(), offsets[1:]
        self._fits: Mask = np.ones(len(keys), np.bool_)

    def take_count(self) -> Lengths:
        """The number a key begins with, 0 where it cannot be one."""
        counts = self._integers(self._at)
        # A part takes at least its header, so more cannot be meant; it also bounds the steps.
        possible = (self._ends - self._at - _COUNT) // (2 * _HEADER)
        self._fits &= counts <= possible
        self._at += np.where(self._fits, _COUNT, 0)
        return np.where(self._fits, counts, 0)

    def take_part(self, wanted: Mask) -> None:
        """Go past a header and what it says the length of."""
        wanted = wanted & self._fits
        self._fits &= ~wanted | (self._at + _HEADER <= self._ends)
        lengths = self._integers(np.where(self._fits, self._at + _COUNT, 0))
        after = self._at + _HEADER + lengths
        self._fits &= ~wanted | (after <= self._ends)
        self._at = np.where(wanted & self._fits, after, self._at)

    def ends_with(self, rest: bytes) -> Mask:
        """Whether exactly this is left."""
        fits: Mask = self._fits & (self._ends - self._at == len(rest))
        places = np.where(fits, self._at, 0)[:, None] + np.arange(len(rest))
        if len(rest) > len(self._data):
            return np.zeros(len(fits), np.bool_)
        same: Mask = (self._data[places] == np.frombuffer(rest, np.uint8)).all(axis=1)
        return fits & same

    def _integers(self, places: Lengths) -> Lengths:
        found: Lengths = (
            self._data[places[:, None] + np.arange(_COUNT)].view("<u4")[:, 0].astype(np.int64)
        )
        return found
