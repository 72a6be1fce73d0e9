"""The total order of events by key and rule 8, found with one sort of 64-bit integers wherever they fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

#: Combined integers stay below this.
_ROOM = 1 << 62


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
    """Sort rows by key, then by time."""
    least, bits = _least(times), (_span(times) - 1).bit_length()
    if _span(keys) << bits >= _ROOM:
        order = np.lexsort((times, keys))
        placed, at = keys[order], times[order]
        same_key = placed[1:] == placed[:-1]
        same = same_key & (at[1:] == at[:-1])
    else:
        both = keys - _least(keys)
        both <<= bits
        both |= times - least
        order = np.argsort(both)
        both = both[order]
        same = both[1:] == both[:-1]
        placed = both >> bits
        same_key = placed[1:] == placed[:-1]
        both &= (1 << bits) - 1
        both += least
        at = both
    starts = np.flatnonzero(np.append(True, ~same_key)[: len(order)])
    return Sorted(order, at, starts, _groups(same) if bool(same.any()) else None)


def break_ties(rows: Sorted, by: Numbers) -> Sorted:
    """Put tied rows into the order of `by`, a value for each row as it came."""
    if rows.groups is None:
        return rows
    tied = np.flatnonzero(rows.groups >= 0)
    numbers, order = rows.groups[tied], rows.order.copy()
    order[tied] = order[tied][np.lexsort((by[order[tied]], numbers))]
    values = by[order[tied]]
    same = np.zeros(len(order) - 1, np.bool_)
    # Rows of one group lie beside each other.
    same[tied[1:][(values[1:] == values[:-1]) & (numbers[1:] == numbers[:-1])] - 1] = True
    return replace(rows, order=order, groups=_groups(same) if bool(same.any()) else None)


def _codes(column: pa.ChunkedArray) -> Numbers:
    import pyarrow as pa

    if pa.types.is_integer(column.type) and column.type != pa.uint64():
        numbers: Numbers = column.to_numpy().astype(np.int64, copy=False)
        return numbers
    encoded = column.dictionary_encode().combine_chunks()
    indices: Numbers = encoded.indices.to_numpy().astype(np.int64)
    return indices


def _combined(left: Numbers, right: Numbers) -> Numbers:
    if _span(left) * _span(right) >= _ROOM:
        left, right = (np.unique(codes, return_inverse=True)[1] for codes in (left, right))
    width = _span(right)
    return (left - _least(left)) * width + (right - _least(right))


def _span(values: Numbers) -> int:
    """How many integers there are from the least to the greatest; a Python integer, which cannot overflow."""
    return int(values.max()) - int(values.min()) + 1 if len(values) else 1


def _least(values: Numbers) -> np.int64:
    return values.min() if len(values) else np.int64(0)


def _groups(same: NDArray[np.bool_]) -> Numbers:
    """Runs of rows that equal the one before: the run's number for each of its rows, -1 for a row on its own."""
    after, ahead = np.append(False, same), np.append(same, False)
    return np.where(after | ahead, np.cumsum(~after), -1)
