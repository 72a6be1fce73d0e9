"""A share of the entities, chosen by what their keys are: the same ones every time, in every order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featmill.errors import UsageError
from featmill.online.row_bytes import binary_data, binary_lengths, binary_offsets

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from featmill.online.row_bytes import Mask

    Hashes = NDArray[np.uint64]

_SAMPLE = re.compile(r"([0-9]+(?:\.[0-9]+)?)%|([0-9]+)")

_WORD = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """How many entities to look at: a share of them all, or about so many."""

    share: float | None = None
    count: int | None = None

    @classmethod
    def parse(cls, text: str) -> Sample:
        """Read `1%` or `1000`.

        Raises:
            UsageError: it is neither, or would be nothing.
        """
        found = _SAMPLE.fullmatch(text.strip())
        if found is not None and found[1] and 0 < float(found[1]) <= 100:
            return cls(share=float(found[1]) / 100)
        if found is not None and found[2] and int(found[2]) > 0:
            return cls(count=int(found[2]))
        raise UsageError(
            f"--sample {text} is no sample",
            hint="a number of entities, such as 1000, or a share of them, such as 1%",
        )

    def of(self, total: int) -> float | None:
        """The share of `total` entities; None where that is all of them."""
        share = self.share if self.count is None else self.count / max(total, 1)
        return None if share is None or share >= 1 else share


def chosen(keys: pa.LargeBinaryArray, share: float) -> Mask:
    """Which of some Redis keys belong to the sample that is `share` of all possible keys."""
    return key_hashes(keys) < np.uint64(int(share * 2.0**64))


def key_hashes(keys: pa.LargeBinaryArray) -> Hashes:
    """A 64-bit hash of each key: splitmix64's mixer over its words of eight bytes, and its length.

    Source of the mixer: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    lengths = binary_lengths(keys)
    starts = binary_offsets(keys)[:-1] - binary_offsets(keys)[:1]
    data = np.concatenate([binary_data(keys), np.zeros(_WORD, np.uint8)])
    found = _mixed(lengths.astype(np.uint64))
    places = np.arange(_WORD)
    rows = np.flatnonzero(lengths > 0)
    at = 0
    while len(rows):
        cells = data[np.minimum(starts[rows, None] + at + places, len(data) - 1)]
        cells[at + places >= lengths[rows, None]] = 0
        found[rows] = _mixed(found[rows] ^ cells.view("<u8").reshape(-1))
        at += _WORD
        rows = rows[lengths[rows] > at]
    return found


def _mixed(words: Hashes) -> Hashes:
    with np.errstate(over="ignore"):
        found = words + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: Hashes = found ^ (found >> np.uint64(31))
    return mixed
