"""Which Redis keys are entities of a project, whatever their join keys."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.redis.entity_keys import are_entities
from featmill.online.codec import redis_keys
from featmill.online.plan import plan_view
from tests.unit.online.tables import feature_table

TABLES = {
    "one": feature_table(keys={"user_id": "BIGINT"}),
    "two": feature_table(keys={"id[*]?\\": "VARCHAR", "b": "BLOB"}),
    "three": feature_table(keys={"a": "INTEGER", "b": "VARCHAR", "c": "TIMESTAMP"}),
}


def key_of(project, **values):
    table = TABLES[{1: "one", 2: "two", 3: "three"}[len(values)]]
    columns = {name: pa.array([value]) for name, value in values.items()}
    columns |= {"c": pa.array([0], pa.timestamp("us", "UTC"))} if "c" in values else {}
    batch = pa.RecordBatch.from_pydict(columns)
    return redis_keys(plan_view(project, table), batch)[0].as_py()


def judged(project, *keys):
    return are_entities(project, pa.array(keys, pa.large_binary())).tolist()


def made(project):
    return [
        key_of(project, user_id=7),
        key_of(project, **{"id[*]?\\": "", "b": b"shop"}),
        key_of(project, **{"id[*]?\\": "x" * 300, "b": b"\x00\xff"}),
        key_of(project, a=-1, b="shop", c=0),
    ]


def test_keys_of_any_number_of_join_keys_are_the_projects():
    assert judged("shop", *made("shop")) == [True] * 4


def test_keys_of_projects_that_end_alike_are_not():
    assert judged("shop", *made("workshop"), *made("shop_eu")) == [False] * 8
    assert judged("workshop", *made("shop")) == [False] * 4


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"shop",
        b"\x00\x00\x00\x00shop",
        b"\xff\xff\xff\xffshop",
        b"featmill:shop:live",
        b"\x01\x00\x00\x00\x02\x00\x00\x00\xff\xff\xff\xffshop",
    ],
)
def test_anything_else_is_not(key):
    assert judged("shop", key) == [False]
    assert judged("shop", made("shop")[0], key, made("shop")[3]) == [True, False, True]


def test_no_keys_are_no_entities():
    assert judged("shop") == []
    assert judged("a" * 500, b"x") == [False]


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(made("shop"))), max_size=8))
def test_a_key_is_judged_by_itself(keys):
    """No bytes stop it, and what lies beside a key decides nothing."""
    found = judged("shop", *keys)

    assert found == [judged("shop", key)[0] for key in keys]
    assert all(is_entity for key, is_entity in zip(keys, found, strict=True) if key in made("shop"))


def test_a_part_of_a_sliced_array_is_judged_like_the_whole():
    keys = pa.array([b"longer than the others", *made("shop"), b"x"], pa.large_binary())

    assert are_entities("shop", keys.slice(1, 4)).tolist() == [True] * 4
