"""A sample is the same entities every time, and no more of them than was asked for."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.redis.sample import Sample, chosen, key_hashes
from featmill.errors import UsageError

KEYS = st.lists(st.binary(max_size=70), min_size=1, max_size=30)


def array(keys):
    return pa.array(keys, pa.large_binary())


@given(KEYS, KEYS)
def test_a_key_has_one_hash_whatever_is_beside_it(before, keys):
    alone = [int(key_hashes(array([key]))[0]) for key in keys]

    beside = array([*before, *keys]).slice(len(before))

    assert key_hashes(beside).tolist() == alone


@given(KEYS)
def test_keys_that_differ_have_hashes_that_differ(keys):
    known = set(keys) | {key + b"\0" for key in keys}

    assert len(set(key_hashes(array(sorted(known))).tolist())) == len(known)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_share_is_about_that_share_and_smaller_ones_are_within_it(share):
    keys = array([f"user {number}".encode() for number in range(100_000)])

    found = chosen(keys, share)

    assert abs(found.mean() - share) < 0.005
    assert not (chosen(keys, share / 2) & ~found).any()


@pytest.mark.parametrize(
    ("text", "total", "share"),
    [
        ("1%", 500, 0.01),
        (" 0.5% ", 500, 0.005),
        ("100%", 500, None),
        ("50", 500, 0.1),
        ("500", 500, None),
        ("501", 500, None),
        ("1", 0, None),
    ],
)
def test_a_sample_is_a_share_or_a_number_and_all_of_them_is_no_sample(text, total, share):
    assert Sample.parse(text).of(total) == share


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-1", "1.5", "one", "%", "1e3"])
def test_what_is_no_sample_is_refused(text):
    with pytest.raises(UsageError, match="--sample"):
        Sample.parse(text)
