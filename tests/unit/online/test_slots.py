"""A key's slot is what redis-py says it is, one by one and for many at once."""

from __future__ import annotations

import binascii

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot as slot_of_redis_py

from featmill.online.codec import redis_keys
from featmill.online.plan import plan_view
from featmill.online.slots import key_slot, key_slots
from tests.unit.online.tables import feature_table

#: Braces in every arrangement, among bytes that mean nothing.
_BRACED = st.lists(st.sampled_from([b"{", b"}", b"a", b"\x00", b"\xff{x}"]), max_size=12)
_KEYS = st.one_of(st.binary(max_size=80), _BRACED.map(b"".join), st.binary(min_size=250))


@given(keys=st.lists(_KEYS, max_size=120), start=st.integers(0, 5))
def test_the_slot_of_a_key_is_the_one_that_redis_py_computes(keys, start):
    expected = [slot_of_redis_py(key) for key in keys]

    assert [key_slot(key) for key in keys] == expected
    assert key_slots(pa.array(keys, pa.large_binary())).tolist() == expected
    sliced = pa.array(keys, pa.large_binary()).slice(start)
    assert key_slots(sliced).tolist() == expected[start:]


@pytest.mark.parametrize(
    ("key", "tagged"),
    [
        (b"{a}b", b"a"),
        (b"x{a}{b}", b"a"),
        (b"x{{a}}", b"{a"),
        (b"{}ab", b"{}ab"),
        (b"}x{a", b"}x{a"),
        (b"a}b{c}d", b"c"),
        (b"x{}y{a}", b"x{}y{a}"),
    ],
)
def test_a_hash_tag_alone_decides(key, tagged):
    many = pa.array([key] * 40, pa.large_binary())

    expected = binascii.crc_hqx(tagged, 0) % 16_384
    assert key_slot(key) == expected
    assert set(key_slots(many).tolist()) == {expected}


def test_entity_keys_that_happen_to_hold_braces_are_routed_like_the_server_does():
    """A user of 0x7D…7B and a name of 123 bytes put both bytes into an entity's key."""
    plan = plan_view("shop", feature_table(keys={"user_id": "BIGINT", "name": "VARCHAR"}))
    users = [0x7D01017B, 0x7D7B, 0x7B7D, 5] * 20
    names = ["n" * 123, "{", "}", "{x}"] * 20
    batch = pa.record_batch({"user_id": pa.array(users), "name": names})

    keys = redis_keys(plan, batch)

    assert key_slots(keys).tolist() == [slot_of_redis_py(key) for key in keys.to_pylist()]
