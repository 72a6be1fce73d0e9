"""Binary search of many numbers at once: in the order of the numbers, a short stretch of the sorted ones at a time.

A search that jumps misses the cache at every step. So what is searched is put into order first, as far as that is
cheap: number and position are packed into one 64-bit word, the number without its lowest bits where both do not fit,
and the words are sorted, which costs a third of sorting positions by number. Each block of neighbours then searches
only the stretch that lies between its least and its greatest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

#: Numbers that search one stretch: few enough that it is short, enough that a block's own cost does not show.
_BLOCK = 2048
#: A signed word without its sign.
_WORD = 63


def last_not_after(
    ordered: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """For each wanted number the position of the last one that is not greater, -1 where all are.

    Args:
        ordered: int64, ascending.
        wanted: int64, in any order.

    Returns:
        int64, one for each wanted number, in their order.
    """
    import numpy as np

    if not len(ordered) or not len(wanted):
        return np.full(len(wanted), -1, np.int64)
    by, shift = _near_order(wanted)
    near: np.ndarray[Any, Any] = wanted[by]
    # In a block nothing lies outside these, though within the dropped bits it may be out of order.
    least = near[::_BLOCK] >> shift << shift
    most = np.append(near[_BLOCK - 1 :: _BLOCK], near[-1:])[: len(least)] | (1 << shift) - 1
    first = np.searchsorted(ordered, least, side="right").tolist()
    end = np.searchsorted(ordered, most, side="right").tolist()
    found = np.empty(len(wanted), np.int64)
    for block, (a, b) in enumerate(zip(first, end, strict=True)):
        held = slice(block * _BLOCK, (block + 1) * _BLOCK)
        np.add(ordered[a:b].searchsorted(near[held], side="right"), a - 1, out=found[held])
    # `near` is done with; its memory takes the answer.
    near[by] = found
    return near


def _near_order(wanted: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], int]:
    """Positions that put the numbers into order but for so many of their lowest bits."""
    import numpy as np

    bits = len(wanted).bit_length()
    width = max(int(wanted.max()), -int(wanted.min()) - 1).bit_length()
    shift = max(width + bits - _WORD, 0)
    packed = wanted >> shift
    packed <<= bits
    packed |= np.arange(len(wanted))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed, shift
