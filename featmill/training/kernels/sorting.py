"""The total order of events by key and rule 8, found with one sort of 64-bit integers wherever they fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from featmill.training.kernels.encoding import Growing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

#: Combined integers stay below this.
_ROOM = 1 << 62
#: With fewer of the upper bits of times too many rows of one key would look the same.
_TIME_BITS = 12


class KeyColumn:
    """One column of the keys, that comes in chunks: integers as such, anything else as Arrow has it."""

    def __init__(self, kind: pa.DataType, rows: int) -> None:
        self._type = kind
        self._chunks: list[pa.Array] = []
        self._numbers = Growing(np.int64, rows if is_plain(kind) else 0)

    def add(self, chunk: pa.Array) -> None:
        """Append a chunk without NULLs."""
        if is_plain(self._type):
            self._numbers.add(chunk.to_numpy())
        else:
            self._chunks.append(chunk)

    def values(self) -> pa.ChunkedArray:
        """All of it, integers as 64 bits."""
        import pyarrow as pa

        if is_plain(self._type):
            return pa.chunked_array([pa.array(self._numbers.array())])
        return pa.chunked_array(self._chunks, self._type)

    def of(self, rows: Numbers) -> pa.ChunkedArray:
        """The keys of some rows, typed as they came."""
        import pyarrow as pa

        return self.values().take(pa.array(rows)).cast(self._type)


def is_plain(kind: pa.DataType) -> bool:
    """Whether 64 bits with a sign hold every value of an Arrow type as it is."""
    import pyarrow as pa

    return bool(pa.types.is_integer(kind)) and kind != pa.uint64()


def key_codes(columns: Sequence[pa.ChunkedArray]) -> Numbers:
    """One integer per row, equal for equal keys and for no others: real codes, no hashes.

    The columns are those of a composite key.
    """
    codes = _codes(columns[0])
    for column in columns[1:]:
        codes = _combined(codes, _codes(column))
    return codes


@dataclass(frozen=True, slots=True)
class Sorted:
    """Rows in order of key and time: `order` is where each was, `starts` where a new key begins among them.

    `groups` numbers the rows that are tied so far, -1 for a row on its own; None where no row is tied.
    """

    order: NDArray[np.int64]
    times: Numbers
    starts: NDArray[np.int64]
    groups: Numbers | None


def order_by_key_and_time(keys: Numbers, times: Numbers) -> Sorted:
    """Sort rows by key, then by time.

    Sorting integers is several times faster than finding the order of integers. So a row's number is packed into one
    integer below its key and as many of its time's upper bits as there is room for; the few rows that then look the
    same are put into order after. Without that room both are sorted the slow way.
    """
    row_bits, time_bits = (len(keys) - 1).bit_length(), _bits(times)
    if 63 - row_bits - _bits(keys) < min(time_bits, _TIME_BITS):
        keys = _dense(keys)
    room = 63 - row_bits - _bits(keys)
    if room < min(time_bits, _TIME_BITS) or time_bits > 63:
        return _ordered_slowly(keys, times)
    shift = max(time_bits - room, 0)
    packed = keys - _least(keys)
    packed <<= room
    packed |= (times - _least(times)) >> shift
    packed <<= row_bits
    packed |= np.arange(len(packed))
    packed.sort()
    order = packed & ((1 << row_bits) - 1)
    packed >>= row_bits
    at = times.take(order)
    alike = np.flatnonzero(packed[1:] == packed[:-1])
    if shift and len(alike):
        places = np.union1d(alike, alike + 1)
        order[places] = order[places][np.lexsort((at[places], packed[places]))]
        at[places] = times[order[places]]
    same = alike[at[alike + 1] == at[alike]]
    packed >>= room
    starts = np.flatnonzero(np.append(True, packed[1:] != packed[:-1])[: len(order)])
    return Sorted(order, at, starts, _groups(_marked(same, len(order))) if len(same) else None)


def _ordered_slowly(keys: Numbers, times: Numbers) -> Sorted:
    order = np.lexsort((times, keys))
    placed, at = keys[order], times[order]
    same_key = placed[1:] == placed[:-1]
    same = same_key & (at[1:] == at[:-1])
    starts = np.flatnonzero(np.append(True, ~same_key)[: len(order)])
    return Sorted(order, at, starts, _groups(same) if bool(same.any()) else None)


def _marked(places: Numbers, rows: int) -> NDArray[np.bool_]:
    """Of each row but the first whether it is marked; `places` are those of the rows before the marked ones."""
    marked = np.zeros(rows - 1, np.bool_)
    marked[places] = True
    return marked


def break_ties(rows: Sorted, by: Numbers) -> Sorted:
    """Put tied rows into the order of `by`, a value for each row as it came."""
    if rows.groups is None:
        return rows
    tied = np.flatnonzero(rows.groups >= 0)
    numbers, order = rows.groups[tied], rows.order.copy()
    order[tied] = order[tied][np.lexsort((by[order[tied]], numbers))]
    values = by[order[tied]]
    # Rows of one group lie beside each other.
    alike = tied[1:][(values[1:] == values[:-1]) & (numbers[1:] == numbers[:-1])] - 1
    same = _marked(alike, len(order))
    return replace(rows, order=order, groups=_groups(same) if bool(same.any()) else None)


def _codes(column: pa.ChunkedArray) -> Numbers:
    if is_plain(column.type):
        numbers: Numbers = column.to_numpy().astype(np.int64, copy=False)
        return numbers
    encoded = column.dictionary_encode().combine_chunks()
    indices: Numbers = encoded.indices.to_numpy().astype(np.int64)
    return indices


def _dense(values: Numbers) -> Numbers:
    """The same order of rows by integers from 0 on without gaps."""
    import pyarrow as pa

    coded = pa.array(values).dictionary_encode()
    known = coded.dictionary.to_numpy()
    place = np.empty(len(known), np.int64)
    place[np.argsort(known)] = np.arange(len(known))
    codes: Numbers = place[coded.indices.to_numpy()]
    return codes


def _combined(left: Numbers, right: Numbers) -> Numbers:
    if _span(left) * _span(right) >= _ROOM:
        left, right = (np.unique(codes, return_inverse=True)[1] for codes in (left, right))
    width = _span(right)
    return (left - _least(left)) * width + (right - _least(right))


def _span(values: Numbers) -> int:
    """How many integers there are from the least to the greatest; a Python integer, which cannot overflow."""
    return int(values.max()) - int(values.min()) + 1 if len(values) else 1


def _bits(values: Numbers) -> int:
    return (_span(values) - 1).bit_length()


def _least(values: Numbers) -> np.int64:
    return values.min() if len(values) else np.int64(0)


def _groups(same: NDArray[np.bool_]) -> Numbers:
    """Runs of rows that equal the one before: the run's number for each of its rows, -1 for a row on its own."""
    after, ahead = np.append(False, same), np.append(same, False)
    return np.where(after | ahead, np.cumsum(~after), -1)
