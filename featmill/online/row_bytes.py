"""Byte strings for many rows at once, without a loop over rows.

What a row's command looks like is the same for every row: a sequence of *slots*, each a constant, a
fixed-width field or a field whose width differs by row. Slots are `(rows, width)` matrices of bytes
laid side by side in one wide matrix; a boolean mask then squeezes the unused cells out, and because
the matrix is row-major what is left is the rows' byte strings, one after the other. Fields that can
be long would waste a wide matrix, so they stay Arrow arrays and Arrow joins them in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Lengths = NDArray[np.int64]
    Mask = NDArray[np.bool_]

CRLF = b"\r\n"

#: Wider fields are not padded: one long value would widen every row of the matrix.
_NARROW = 64

#: A varint holds 7 bits a byte, so 64 bits need ten.
_VARINT_BYTES = 10


class Slots(Protocol):
    """Where the slots of some rows go."""

    def constant(self, data: bytes) -> None:
        """Add the same bytes to every row."""

    def fixed(self, matrix: Bytes) -> None:
        """Add a `(rows, width)` matrix, every byte of it."""

    def ragged(self, matrix: Bytes, lengths: Lengths) -> None:
        """Add the first `lengths[i]` bytes of row i of a `(rows, width)` matrix."""

    def binary(self, array: pa.LargeBinaryArray, lengths: Lengths) -> None:
        """Add an Arrow binary array without NULLs; `lengths` are its values' lengths."""


class RowBytes:
    """Collects the slots of `rows` byte strings, left to right."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._group = _SlotGroup(rows)
        self._parts: list[Any] = []

    def constant(self, data: bytes) -> None:
        """Add the same bytes to every row."""
        self._group.constant(data)

    def fixed(self, matrix: Bytes) -> None:
        """Add a `(rows, width)` matrix, every byte of it."""
        self._group.add(matrix, None)

    def ragged(self, matrix: Bytes, lengths: Lengths) -> None:
        """Add the first `lengths[i]` bytes of row i of a `(rows, width)` matrix."""
        self._group.add(matrix, lengths)

    def binary(self, array: pa.LargeBinaryArray, lengths: Lengths) -> None:
        """Add an Arrow binary array without NULLs; `lengths` are its values' lengths."""
        widest = int(lengths.max(initial=0))
        if widest <= _NARROW:
            self._group.add(_padded(array, lengths, widest), lengths)
            return
        self._close_group()
        self._parts.append(array)

    def stream(self) -> Bytes:
        """All rows' bytes, one after the other."""
        if not self._parts:
            return self._group.squeeze()[0]
        return binary_data(self.array())

    def array(self) -> pa.LargeBinaryArray:
        """All rows' bytes, one Arrow value a row."""
        self._close_group()
        if not self._parts:
            return binary_array(np.zeros(0, np.uint8), np.zeros(self._rows, np.int64))
        if len(self._parts) == 1:
            return self._parts[0]
        separator = pa.scalar(b"", pa.large_binary())
        return pc.binary_join_element_wise(*self._parts, separator)

    def _close_group(self) -> None:
        if not self._group.is_empty:
            self._parts.append(binary_array(*self._group.squeeze()))
        self._group = _SlotGroup(self._rows)


class SlotsWhere:
    """Slots that only the rows of a mask get; the other rows get no byte of them."""

    def __init__(self, out: RowBytes, mask: Mask) -> None:
        self._out = out
        self._mask = mask

    def constant(self, data: bytes) -> None:
        """Add the same bytes to every row of the mask."""
        self.fixed(np.frombuffer(data, np.uint8)[None, :])

    def fixed(self, matrix: Bytes) -> None:
        """Add a matrix of one row, or of one for each row, every byte of it."""
        self._out.ragged(matrix, np.where(self._mask, matrix.shape[1], 0))

    def ragged(self, matrix: Bytes, lengths: Lengths) -> None:
        """Add the first `lengths[i]` bytes of row i of the mask."""
        self._out.ragged(matrix, np.where(self._mask, lengths, 0))

    def binary(self, array: pa.LargeBinaryArray, lengths: Lengths) -> None:
        """Add an Arrow binary array without NULLs; `lengths` are its values' lengths."""
        nothing = pa.scalar(b"", pa.large_binary())
        self._out.binary(
            pc.if_else(pa.array(self._mask), array, nothing), np.where(self._mask, lengths, 0)
        )


class _SlotGroup:
    """Neighbouring slots that fit in one matrix."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._slots: list[tuple[Bytes, Lengths | None]] = []
        self._pending = b""

    @property
    def is_empty(self) -> bool:
        return not self._slots and not self._pending

    def constant(self, data: bytes) -> None:
        # Held back so that neighbouring constants become one slot: slots, not bytes, are what
        # costs.
        self._pending += data

    def add(self, matrix: Bytes, lengths: Lengths | None) -> None:
        self._flush()
        if matrix.shape[1] > 0:
            self._slots.append((matrix, lengths))

    def squeeze(self) -> tuple[Bytes, Lengths]:
        """The rows' bytes one after the other, and each row's length."""
        self._flush()
        width = sum(matrix.shape[1] for matrix, _ in self._slots)
        cells = np.empty((self._rows, width), np.uint8)
        used = np.ones((self._rows, width), np.bool_)
        total = np.zeros(self._rows, np.int64)
        is_ragged = False
        left = 0
        for matrix, lengths in self._slots:
            right = left + matrix.shape[1]
            cells[:, left:right] = matrix
            if lengths is None:
                total += right - left
            else:
                used[:, left:right] = np.arange(right - left) < lengths[:, None]
                total += lengths
                is_ragged = True
            left = right
        return (cells[used] if is_ragged else cells.reshape(-1)), total

    def _flush(self) -> None:
        if self._pending:
            self._slots.append((np.frombuffer(self._pending, np.uint8)[None, :], None))
            self._pending = b""


def binary_array(data: Bytes, lengths: Lengths) -> pa.LargeBinaryArray:
    """An Arrow array of values that lie one after the other in `data`."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(lengths), buffers)


def binary_offsets(array: pa.LargeBinaryArray) -> Lengths:
    """Where each value starts in the data buffer, and where the last ends."""
    if len(array) == 0:
        return np.zeros(1, np.int64)
    offsets: Lengths = np.frombuffer(array.buffers()[1], np.int64)
    return offsets[array.offset : array.offset + len(array) + 1]


def binary_data(array: pa.LargeBinaryArray) -> Bytes:
    """The values' bytes, one after the other."""
    offsets = binary_offsets(array)
    buffer = array.buffers()[2]
    if buffer is None or offsets[-1] == offsets[0]:
        return np.zeros(0, np.uint8)
    data: Bytes = np.frombuffer(buffer, np.uint8)
    return data[offsets[0] : offsets[-1]]


def binary_lengths(array: pa.LargeBinaryArray) -> Lengths:
    """The length of each value."""
    lengths: Lengths = np.diff(binary_offsets(array))
    return lengths


def _padded(array: pa.LargeBinaryArray, lengths: Lengths, width: int) -> Bytes:
    data = binary_data(array)
    if bool((lengths == width).all()):
        return data.reshape(-1, width) if width else np.zeros((len(lengths), 0), np.uint8)
    matrix = np.zeros((len(lengths), width), np.uint8)
    matrix[np.arange(width) < lengths[:, None]] = data
    return matrix


def fixed_bytes(values: NDArray[Any], dtype: str) -> Bytes:
    """Each number's bytes in `dtype`, such as `<i8`: a `(rows, itemsize)` matrix."""
    width = np.dtype(dtype).itemsize
    return np.ascontiguousarray(values.astype(dtype)).view(np.uint8).reshape(-1, width)


def varint(values: NDArray[np.uint64]) -> tuple[Bytes, Lengths]:
    """Protobuf's variable-width integers: a left-aligned matrix and each row's length."""
    matrix = np.empty((len(values), _VARINT_BYTES), np.uint8)
    lengths = np.ones(len(values), np.int64)
    rest = values.copy()
    for place in range(_VARINT_BYTES):
        matrix[:, place] = rest & np.uint64(0x7F)
        rest >>= np.uint64(7)
        more = rest > 0
        if not more.any():
            return matrix[:, : place + 1], lengths
        matrix[:, place] |= more.astype(np.uint8) << 7
        lengths += more
    return matrix, lengths


def choices(texts: Sequence[bytes]) -> tuple[Bytes, Lengths]:
    """Texts to choose from by number: a left-aligned matrix and each one's length."""
    lengths = np.array([len(text) for text in texts], np.int64)
    matrix = np.zeros((len(texts), int(lengths.max())), np.uint8)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = np.frombuffer(b"".join(texts), np.uint8)
    return matrix, lengths


_PREFIXES, _PREFIX_LENGTHS = choices([b"$%d\r\n" % length for length in range(1000)])


def bulk_prefix(out: Slots, lengths: Lengths) -> None:
    r"""Add RESP's `$<length>\r\n`, for rows whose lengths differ."""
    longest = int(lengths.max(initial=0))
    if longest < len(_PREFIXES):
        width = int(_PREFIX_LENGTHS[longest])
        out.ragged(_PREFIXES[:, :width][lengths], _PREFIX_LENGTHS[lengths])
        return
    out.constant(b"$")
    out.ragged(*decimal(lengths))
    out.constant(CRLF)


def decimal(values: Lengths) -> tuple[Bytes, Lengths]:
    """Non-negative integers in decimal: a left-aligned matrix and each row's number of digits."""
    width = len(str(int(values.max(initial=0))))
    powers = 10 ** np.arange(width, dtype=np.int64)
    digits = np.maximum(1, (values[:, None] >= powers).sum(axis=1))
    place = np.maximum(digits[:, None] - 1 - np.arange(width), 0)
    matrix = (values[:, None] // powers[place] % 10 + ord("0")).astype(np.uint8)
    return matrix, digits


def bulk(data: bytes) -> bytes:
    """One RESP bulk string."""
    return b"$%d\r\n%b\r\n" % (len(data), data)
