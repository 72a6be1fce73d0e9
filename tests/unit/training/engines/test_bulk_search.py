"""Many numbers searched at once are found where one by one they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featmill.training.engines.bulk_search import last_not_after

#: What a row's number and a label's may be: up to 2^62, and -1 for a moment before the first row.
NUMBERS = st.integers(-1, 2**62) | st.integers(-1, 20)


def one_by_one(ordered, wanted) -> list[int]:
    """Rule 12: the last that is not greater."""
    return [max((i for i, n in enumerate(ordered) if n <= w), default=-1) for w in wanted]


@given(ordered=st.lists(NUMBERS, unique=True).map(sorted), wanted=st.lists(NUMBERS))
def test_each_finds_the_last_that_is_not_greater(ordered, wanted):
    found = last_not_after(np.array(ordered, np.int64), np.array(wanted, np.int64))

    assert found.tolist() == one_by_one(ordered, wanted)


@pytest.mark.parametrize("labels", [2047, 2048, 2049, 100_000])
@pytest.mark.parametrize("width", [1, 2**20, 2**45])
def test_blocks_and_dropped_bits_lose_nothing(labels, width):
    """Neighbours that differ only in bits that the order leaves out, on both sides of a block's edge."""
    random = np.random.default_rng(labels)
    ordered = np.unique(random.integers(0, 50_000, 50_000) * width + random.integers(0, 2, 50_000))
    wanted = random.integers(-1, 50_001, labels) * width + random.integers(-1, 3, labels)

    found = last_not_after(ordered, wanted)

    assert np.array_equal(found, np.searchsorted(ordered, wanted, side="right") - 1)


def test_what_is_searched_stays_as_it_was():
    wanted = np.array([5, 3, 4, -1])

    last_not_after(np.arange(4), wanted)

    assert wanted.tolist() == [5, 3, 4, -1]
