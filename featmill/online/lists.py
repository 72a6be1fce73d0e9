"""Feast's `Value` messages of lists, a column at a time.

A list is a message within the `Value`: numbers packed into one field, texts and bytes each a field
of its own. The elements of all rows are encoded as one column, and Arrow's offsets say which of
their bytes are whose; no row is looked at by itself.

An empty list is an empty message and a NULL list no value at all. Feast writes a NULL within a list
as zero or as an empty text, which reads back as a value nobody published: here it is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featmill.contract.types import OnlineKind
from featmill.errors import EncodingError
from featmill.online.arrow_forms import binaries, integers, plain, presence, reals
from featmill.online.row_bytes import (
    CRLF,
    RowBytes,
    binary_array,
    binary_data,
    binary_lengths,
    binary_offsets,
    bulk_prefix,
    fixed_bytes,
    varint,
)
from featmill.online.wire_format import ELEMENTS_TAG, LIST_TAGS

if TYPE_CHECKING:
    from featmill.online.row_bytes import Bytes, Lengths, Mask, Slots

_TEXTS = (OnlineKind.STRING, OnlineKind.BYTES)

_REALS = (OnlineKind.FLOAT, OnlineKind.DOUBLE)


def append_list(out: Slots, column: pa.Array, kind: OnlineKind, name: str) -> None:
    """Add a column of lists, each as one RESP bulk string holding a `Value` message.

    No list may hold a NULL: see `row_with_null`.

    Raises:
        EncodingError: an element has no exact online form.
    """
    present = presence(column)
    content = _contents(column, kind, name)
    lengths = binary_lengths(content)
    if kind in _TEXTS:
        inner, has_elements = lengths, None
    else:
        # Packed numbers have a header of their own, and none where there are none.
        sizes, size_lengths = varint(lengths.view(np.uint64))
        has_elements = lengths > 0
        size_lengths = np.where(has_elements, size_lengths, 0)
        inner = lengths + size_lengths + has_elements
    tag = np.frombuffer(LIST_TAGS[kind], np.uint8)[None, :]
    heads, head_lengths = varint(inner.view(np.uint64))
    if present is not None:
        head_lengths = np.where(present, head_lengths, 0)
    tag_lengths = _lengths(present, len(lengths)) * tag.shape[1]
    bulk_prefix(out, tag_lengths + head_lengths + inner)
    out.ragged(tag, tag_lengths)
    out.ragged(heads, head_lengths)
    if has_elements is not None:
        out.ragged(np.full((1, 1), ELEMENTS_TAG, np.uint8), has_elements.astype(np.int64))
        out.ragged(sizes, size_lengths)
    out.binary(content, lengths)
    out.constant(CRLF)


def row_with_null(column: pa.Array) -> int | None:
    """The first row whose list holds a NULL; None where there is none."""
    if not _is_list(column.type):
        return None
    elements = plain(column.flatten())
    if elements.null_count == 0:
        return None
    place = int(np.argmin(elements.is_valid().to_numpy(zero_copy_only=False)))
    ends = np.cumsum(_element_counts(column))
    return int(np.searchsorted(ends, place, side="right"))


def _contents(column: pa.Array, kind: OnlineKind, name: str) -> pa.LargeBinaryArray:
    """The bytes of each row's elements, one after the other; none where the list is NULL."""
    if pa.types.is_null(column.type):
        return pa.array([b""] * len(column), pa.large_binary())
    if not _is_list(column.type):
        raise EncodingError(
            f"column {name!r} is stored online as a list of {kind}, but its values are {column.type}",
            hint=f"cast {name} to the data_type its contract declares",
        )
    data, element_ends = _element_bytes(plain(column.flatten()), kind, name)
    row_ends = np.cumsum(_element_counts(column))
    ends = np.concatenate([[0], element_ends])[np.concatenate([[0], row_ends])]
    return binary_array(data, np.diff(ends))


def _element_bytes(elements: pa.Array, kind: OnlineKind, name: str) -> tuple[Bytes, Lengths]:
    """All elements' bytes, and where each one's end."""
    if kind in _REALS:
        matrix = fixed_bytes(reals(elements, kind, name), "<f8" if kind is _REALS[1] else "<f4")
        return matrix.reshape(-1), np.arange(1, len(matrix) + 1, dtype=np.int64) * matrix.shape[1]
    out = RowBytes(len(elements))
    if kind in _TEXTS:
        found = binaries(elements, kind, name)
        lengths = binary_lengths(found)
        out.constant(bytes([ELEMENTS_TAG]))
        out.ragged(*varint(lengths.view(np.uint64)))
        out.binary(found, lengths)
    else:
        out.ragged(*varint(integers(elements, kind, name).view(np.uint64)))
    joined = out.array()
    offsets = binary_offsets(joined)
    return binary_data(joined), offsets[1:] - offsets[0]


def _element_counts(column: pa.Array) -> Lengths:
    counts: Lengths = (
        pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    ).astype(np.int64)
    return counts


def _lengths(present: Mask | None, rows: int) -> Lengths:
    return np.ones(rows, np.int64) if present is None else present.astype(np.int64)


def _is_list(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_fixed_size_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(test(kind) for test in tests)
