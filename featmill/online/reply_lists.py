"""Many replies of one column of lists decoded at once: see `reply_arrays`.

Packed numbers are read as one array for all rows. Texts and bytes lie behind one another, each
behind its own length, so they are read in steps: the first of every row, the second of every row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from featmill.contract.types import OnlineKind
from featmill.online.one_value import moment_of
from featmill.online.reply_arrays import (
    NUMBER_TYPES,
    REALS,
    VARINT_BYTES,
    moments,
    require,
    text_array,
    varints,
)
from featmill.online.wire_format import ELEMENTS_TAG, LIST_TAGS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from featmill.contract.types import FeatureType
    from featmill.online.reply_arrays import Replies
    from featmill.online.row_bytes import Bytes, Lengths


def list_array(column: FeatureType, replies: Replies, what: str) -> pa.ListArray:
    """A column of lists as Arrow.

    Raises:
        EncodingError: a reply is no list of the column's type.
    """
    if column.kind in (OnlineKind.STRING, OnlineKind.BYTES):
        elements, counts = _texts(column, replies, what)
    else:
        numbers, counts = number_lists(column, replies, what)
        if moment_of(column) is None:
            elements = pa.array(numbers, NUMBER_TYPES[column.kind])
        else:
            elements = moments(column, pa.array(numbers, pa.int64()), what)
    rows = np.zeros(replies.rows, np.int64)
    rows[slice(None) if replies.present is None else replies.present] = counts
    offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int32)
    mask = None if replies.present is None else pa.array(~replies.present)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), elements, mask=mask)


def number_lists(column: FeatureType, replies: Replies, what: str) -> tuple[NDArray[Any], Lengths]:
    """The elements of all rows that are there, as they are stored, and how many each row has.

    Raises:
        EncodingError: a reply is no list of the column's type.
    """
    at = _message(column, replies, what)
    has_elements = at < replies.ends
    sizes, content = varints(replies.data, np.where(has_elements, at + 1, 0))
    fits = (replies.data[np.minimum(at, replies.size)] == ELEMENTS_TAG) & (content > 0)
    fits &= sizes.view(np.int64) == replies.ends - content
    require(fits | ~has_elements, replies, what)
    starts = np.where(has_elements, content, replies.ends)
    lengths = replies.ends - starts
    data = replies.after(starts)
    dtype = REALS.get(column.kind)
    if dtype is not None:
        width = np.dtype(dtype).itemsize
        require(lengths % width == 0, replies, what)
        return data.view(dtype), lengths // width
    return _integers(column, replies, (data, lengths), what)


def _integers(
    column: FeatureType, replies: Replies, packed: tuple[Bytes, Lengths], what: str
) -> tuple[NDArray[Any], Lengths]:
    data, lengths = packed
    row_ends = np.cumsum(lengths)
    # The last byte of an integer is the one below 128.
    ends = data < 0x80
    whole = ends[np.maximum(row_ends - 1, 0)] if len(data) else np.ones(len(lengths), np.bool_)
    require(whole | (lengths == 0), replies, what)
    last = np.flatnonzero(ends)
    firsts = np.concatenate([[0], last[:-1] + 1]) if len(last) else last
    values, after = varints(np.concatenate([data, np.zeros(VARINT_BYTES, np.uint8)]), firsts)
    before = np.concatenate([[0], np.cumsum(ends)])
    counts = before[row_ends] - before[row_ends - lengths]
    too_long = np.flatnonzero(after < 0)
    if len(too_long):
        row = int(np.searchsorted(np.cumsum(counts), too_long[0], side="right"))
        require(np.arange(len(lengths)) != row, replies, what)
    found = values.view(np.int64)
    return (found != 0 if column.kind is OnlineKind.BOOL else found), counts


def _texts(column: FeatureType, replies: Replies, what: str) -> tuple[pa.Array, Lengths]:
    at = _message(column, replies, what)
    counts = np.zeros(len(at), np.int64)
    steps: list[tuple[Lengths, Lengths, Lengths]] = []
    rows = np.flatnonzero(at < replies.ends)
    while len(rows):
        sizes, content = varints(replies.data, at[rows] + 1)
        fits = np.ones(len(at), np.bool_)
        lengths = sizes.view(np.int64)
        fits[rows] = (replies.data[at[rows]] == ELEMENTS_TAG) & (content > 0)
        # A length that is no length may be anything, so it is not added to a place.
        fits[rows] &= (lengths >= 0) & (lengths <= replies.ends[rows] - content)
        require(fits, replies, what)
        steps.append((rows, content, lengths))
        at[rows] = content + lengths
        counts[rows] += 1
        rows = rows[at[rows] < replies.ends[rows]]
    if not steps:
        return text_array(column.kind, (np.zeros(0, np.uint8), np.zeros(0, np.int64)), what), counts
    # Stable, so a row's elements stay in the order they were read in.
    order = np.argsort(np.concatenate([step[0] for step in steps]), kind="stable")
    starts = np.concatenate([step[1] for step in steps])[order]
    lengths = np.concatenate([step[2] for step in steps])[order]
    before = np.cumsum(lengths) - lengths
    places = np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
    return text_array(column.kind, (replies.data[places], lengths), what), counts


def _message(column: FeatureType, replies: Replies, what: str) -> Lengths:
    """Where each row's list message begins; it goes on to the row's end."""
    tag = LIST_TAGS[column.kind]
    fits = replies.lengths > len(tag)
    for place, byte in enumerate(tag):
        fits &= replies.data[replies.starts + place] == byte
    sizes, at = varints(replies.data, replies.starts + len(tag))
    require(fits & (at > 0) & (sizes.view(np.int64) == replies.ends - at), replies, what)
    return at
