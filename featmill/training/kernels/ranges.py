"""Questions about ranges of sorted events, many at once: where a window begins and ends, and what lies in it.

A range is `[low, high)`, positions in an array of events. Every function answers for arrays of ranges and costs no
Python per range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

#: Up to this many events a range is looked at one by one; beyond, whole blocks of it are.
_BLOCK = 64
#: How many (range, event) pairs are held at a time.
_PAIRS = 1 << 20
#: How many ranges are bisected at a time: what is computed of them stays in the processor's cache.
_BISECTED = 1 << 12


def lower_bound(times: Numbers, low: Numbers, high: Numbers, moments: Numbers) -> Numbers:
    """For each range of sorted times, the first position whose time is not before the moment, or its end."""
    found = np.empty(len(low), np.int64)
    for begin in range(0, len(low), _BISECTED):
        part = slice(begin, begin + _BISECTED)
        found[part] = _bisected(times, low[part], high[part], moments[part])
    return found


def _bisected(times: Numbers, low: Numbers, high: Numbers, moments: Numbers) -> Numbers:
    """Walk ahead by halving powers of two, as long as the event there is before the moment."""
    found = low.copy()
    step = (1 << int((high - low).max(initial=0)).bit_length()) >> 1
    while step:
        probed = found + (step - 1)
        # What lies behind a range is read, where there is nothing the last event, and not taken.
        ahead = (times.take(probed, mode="clip") < moments) & (probed < high)
        found += ahead * step
        step >>= 1
    return found


def before(mask: NDArray[np.bool_]) -> NDArray[np.signedinteger[Any]]:
    """How many are marked before each position, and at the end how many there are."""
    counted = np.zeros(len(mask) + 1, _narrow(len(mask)))
    counted[1:] = mask
    return np.cumsum(counted, out=counted)


def prefix_sums(values: Numbers) -> Numbers:
    """Sums up to each position. They may wrap around 64 bits: a difference of two is right where it fits itself."""
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums


def largest_segment_sum(values: Numbers, offsets: Numbers) -> float:
    """A bound on the magnitude of the sum of any range within a segment."""
    starts = offsets[:-1][np.diff(offsets) > 0]
    if len(starts) == 0:
        return 0.0
    largest = max(float(values.max()), -float(values.min()))
    rough = largest * float(np.diff(offsets).max())
    if rough < 1e18:
        return rough
    return float(np.add.reduceat(np.abs(values.astype(np.float64)), starts).max())


def extremes(
    values: Numbers, tables: list[Numbers], low: Numbers, high: Numbers, choose: np.ufunc
) -> Numbers:
    """The least (`np.minimum`), greatest (`np.maximum`) or union (`np.bitwise_or`) of each range; none may be empty.

    `tables` are those of `block_tables`. A long range is its ragged ends and two overlapping runs of whole blocks.
    """
    found = np.empty(len(low), np.int64)
    short = high - low <= 2 * _BLOCK
    found[short] = _reduced(values, low[short], high[short], choose)
    long = ~short
    if long.any():
        first, last = -(-low[long] // _BLOCK), high[long] // _BLOCK
        level = np.frexp(last - first)[1] - 1
        inner = np.empty(len(first), np.int64)
        for height in np.unique(level):
            at = level == height
            table = tables[height]
            inner[at] = choose(table[first[at]], table[last[at] - (1 << int(height))])
        # An end may be empty: then it repeats an event of the range.
        left = _reduced(values, low[long], np.maximum(first * _BLOCK, low[long] + 1), choose)
        right = _reduced(values, np.minimum(last * _BLOCK, high[long] - 1), high[long], choose)
        found[long] = choose(choose(left, right), inner)
    return found


def block_tables(values: Numbers, choose: np.ufunc) -> list[Numbers]:
    """Sparse tables over whole blocks of 64 events: `tables[k][i]` is the extreme of blocks `i` to `i + 2**k`."""
    blocks = len(values) // _BLOCK
    if blocks == 0:
        return []
    tables = [choose.reduce(values[: blocks * _BLOCK].reshape(blocks, _BLOCK), axis=1)]
    while len(tables[-1]) > (step := 1 << (len(tables) - 1)):
        tables.append(choose(tables[-1][:-step], tables[-1][step:]))
    return tables


def _reduced(values: Numbers, low: Numbers, high: Numbers, choose: np.ufunc) -> Numbers:
    """`choose` over each range; none may be empty. `values` has one more element, which belongs to no range."""
    if len(low) == 0:
        return np.empty(0, np.int64)
    edges = np.empty(2 * len(low), np.int64)
    edges[0::2], edges[1::2] = low, high
    # reduceat also answers for what lies between two ranges, and after the last: every second answer is ours.
    found: Numbers = choose.reduceat(values[: int(high.max()) + 1], edges)[0::2]
    return found


def spread(codes: NDArray[np.signedinteger[Any]]) -> int:
    """How many integers there are from the least code to the greatest."""
    return int(codes.max()) - int(codes.min()) + 1 if len(codes) else 0


def as_bits(codes: NDArray[np.signedinteger[Any]]) -> NDArray[np.unsignedinteger[Any]]:
    """Each code as one bit; their spread is at most 62. Or-ing the bits of a range gives the set of its codes."""
    kind = np.min_scalar_type(1 << max(spread(codes) - 1, 0))
    shifts = codes - codes.min() if len(codes) else codes
    bits: NDArray[np.unsignedinteger[Any]] = np.left_shift(np.ones(1, kind), shifts.astype(kind))
    return bits


def previous(codes: Numbers, segments: NDArray[np.signedinteger[Any]]) -> NDArray[Any]:
    """For each event the position of the one before it with its code in its segment, or -1."""
    least, width = int(codes.min(initial=0)), _narrow(len(codes))
    if int(codes.max(initial=0)) - least < 1 << 16:
        # numpy sorts 16 bits by radix, several times faster than 64 by merging.
        codes = (codes - least).astype(np.uint16)
    order = np.argsort(codes, kind="stable").astype(width)
    # Events of one code are now in their own order, so those of one segment are beside each other.
    places, grouped = segments[order], codes[order]
    same = (places[1:] == places[:-1]) & (grouped[1:] == grouped[:-1])
    found = np.empty(len(codes), width)
    found[order[:1]] = -1
    found[order[1:]] = np.where(same, order[:-1], width(-1))
    return found


def distinct(earlier: NDArray[Any], low: Numbers, high: Numbers) -> Numbers:
    """How many distinct codes each range holds: those of its events whose code was last met before it.

    `earlier` is `previous` of the codes.
    """
    low, high = low.astype(earlier.dtype), high.astype(earlier.dtype)
    found = np.zeros(len(low), np.int64)
    for part, positions, starts in _pairs(low, high):
        lengths = high[part] - low[part]
        new = earlier[positions] < np.repeat(low[part], lengths)
        found[part] = np.add.reduceat(new, starts, dtype=np.int64)
    return found


def most_frequent(codes: Numbers, low: Numbers, high: Numbers) -> Numbers:
    """The code that each range holds most often, of ties the least; no range may be empty.

    `codes` count from 0 without large gaps.
    """
    found = np.empty(len(low), np.int64)
    width = int(codes.max(initial=0)) + 1
    for part, positions, _ in _pairs(low, high):
        rows = np.repeat(np.arange(len(low[part])), high[part] - low[part])
        pairs = np.sort(rows * width + codes[positions])
        runs = np.flatnonzero(np.append(True, pairs[1:] != pairs[:-1]))
        counts = np.diff(np.append(runs, len(pairs)))
        row, code = np.divmod(pairs[runs], width)
        # The more often first, of ties the smaller code.
        rank = counts * width + (width - 1 - code)
        best = np.maximum.reduceat(rank, np.flatnonzero(np.append(True, row[1:] != row[:-1])))
        found[part] = width - 1 - best % width
    return found


def newest(low: Numbers, high: Numbers, count: int) -> tuple[Numbers, Numbers]:
    """The positions of up to `count` newest events of each range, newest first, and how many there are of each."""
    lengths = np.minimum(high - low, count)
    ends = np.cumsum(lengths)
    back = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    return np.repeat(high, lengths) - 1 - back, lengths


def _pairs(low: Numbers, high: Numbers) -> Iterator[tuple[NDArray[np.int64], Numbers, Numbers]]:
    """The ranges that are not empty, a few at a time: which, their events' positions, each one's begin."""
    filled = np.flatnonzero(high > low)
    total = np.cumsum((high - low)[filled], dtype=np.int64)
    begin = 0
    while begin < len(filled):
        done = int(total[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(total, done + _PAIRS, side="right")), begin + 1)
        part = filled[begin:end]
        lengths = (high - low)[part]
        starts = np.cumsum(lengths, dtype=lengths.dtype) - lengths
        positions = np.repeat(low[part] - starts, lengths)
        positions += np.arange(len(positions), dtype=positions.dtype)
        yield part, positions, starts
        begin = end


def _narrow(count: int) -> type[np.signedinteger[Any]]:
    """The integers that positions up to a count need: half as wide is half as much to read."""
    return np.int32 if count < 1 << 31 else np.int64
