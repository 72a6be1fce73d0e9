"""`verify` compares every key and feature exactly, and names what differs."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pyarrow as pa
import pytest

from exporters.redis import Difference, ParityJob, compare_rows, strays
from exporters.redis.sample import chosen
from featmill import clock
from featmill.errors import OnlineRefused
from featmill.online.codec import redis_keys
from featmill.online.expiry import KeyExpiry
from featmill.online.plan import feature_field, plan_view
from tests.integration.online.publications import (
    AS_OF,
    PROJECT,
    TABLE,
    dump,
    export,
    snapshot,
    verify,
)
from tests.unit.online.tables import feature_table

pytestmark = pytest.mark.redis

CITY = feature_field("clicks", "city")
COUNT = feature_field("clicks", "count_7d")


def key_of(user, project=PROJECT):
    batch = snapshot(1, first=user).to_batches()[0]
    return redis_keys(plan_view(project, TABLE), batch)[0].as_py()


@pytest.fixture
def published(store):
    rows = snapshot(9_000)
    export(store, rows)
    return rows


@pytest.fixture
def client(store):
    with store.client() as opened:
        yield opened


def test_an_equal_store_is_equal_to_the_last_value(store, published):
    report = verify(store, published)

    assert (report.checked_entities, report.checked_values) == (9_000, 36_000)
    assert (report.total_differences, report.differences, report.is_equal) == (0, (), True)


@pytest.mark.parametrize("user", [0, 4_500, 8_999])
def test_one_planted_value_is_named_with_both_values(store, published, client, user):
    client.hset(key_of(user), COUNT, b"\x20\x07")

    report = verify(store, published)

    assert not report.is_equal
    assert report.total_differences == 1
    assert report.differences == (Difference(f"user_id={user}", "count_7d", str(user * 10), "7"),)


@pytest.mark.parametrize(
    ("field", "data", "expected"),
    [
        (CITY, b"", Difference("user_id=5", "city", '"city 0 5"', "NULL")),
        (CITY, None, Difference("user_id=5", "city", '"city 0 5"', "missing")),
        (CITY, b"\x12\x01x", Difference("user_id=5", "city", '"city 0 5"', '"x"')),
        (CITY, b"\xffx", Difference("user_id=5", "city", '"city 0 5"', "0xff78")),
        (
            b"_ts:clicks",
            b"",
            Difference(
                "user_id=5", "feature_at", "2026-03-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00"
            ),
        ),
    ],
)
def test_every_way_a_value_can_differ_is_told_apart(
    store, published, client, field, data, expected
):
    if data is None:
        client.hdel(key_of(5), field)
    else:
        client.hset(key_of(5), field, data)

    assert verify(store, published).differences == (expected,)


def test_null_is_not_the_same_as_missing(store, published, client):
    client.hdel(key_of(7), CITY)

    assert verify(store, published).differences == (
        Difference("user_id=7", "city", "NULL", "missing"),
    )


def test_a_missing_entity_and_a_foreign_type_are_one_difference_each(store, published, client):
    client.delete(key_of(1), key_of(2))
    client.set(key_of(2), "not a hash")

    missing, foreign = verify(store, published).differences

    assert missing == Difference("user_id=1", "(entity)", "present", "missing")
    assert (foreign.key, foreign.feature, foreign.expected) == ("user_id=2", "(entity)", "a hash")
    assert foreign.actual.startswith("WRONGTYPE")


def test_an_entity_too_many_is_named(store, published):
    report = verify(store, published.slice(2))

    assert report.differences == (
        Difference("user_id=0", "(entity)", "missing", "present"),
        Difference("user_id=1", "(entity)", "missing", "present"),
    )


def test_more_keys_than_are_told_apart_at_once(store, published, monkeypatch):
    monkeypatch.setattr(strays, "_PART_ROWS", 1_000)

    report = verify(store, published.slice(1_500))

    assert report.total_differences == 1_500
    assert verify(store, published).is_proof


def test_twenty_differences_are_shown_and_all_are_counted(store, published):
    report = verify(store, published.slice(1_000))

    assert (report.total_differences, len(report.differences)) == (1_000, 20)
    assert report.checked_entities == 8_000


def test_entities_of_other_views_and_projects_are_not_too_many(store, published):
    other = feature_table("orders", features={"count_7d": "BIGINT"})
    export(store, snapshot(10, first=50_000), table=other)
    export(store, snapshot(10, first=60_000), project="work" + PROJECT)

    assert verify(store, published).is_equal
    assert verify(store, snapshot(10, first=60_000), project="work" + PROJECT).is_equal


def test_patterns_in_names_and_values_are_taken_literally(store):
    table = feature_table("clicks", keys={"id[*]?\\": "VARCHAR", "b": "BLOB"})
    rows = pa.table(
        {
            "id[*]?\\": ["", "*", "a" * 300],
            "b": pa.array([b"shop", b"\x00\xff", b"b" * 70], pa.binary()),
            "feature_at": snapshot(3)["feature_at"],
            "count_7d": [1, 2, 3],
        }
    )
    export(store, rows, table=table)
    export(store, rows, table=table, project="xshop")

    assert verify(store, rows, table=table).is_equal
    assert verify(store, rows.slice(1), table=table).differences == (
        Difference('b=0x73686f70, id[*]?\\=""', "(entity)", "missing", "present"),
    )


def test_a_store_that_was_never_exported_to_has_no_record(store):
    report = verify(store, snapshot(3))

    assert report.record is None
    assert (report.total_differences, report.is_incomplete) == (3, False)


def test_an_error_that_is_not_about_a_key_stops_verify(store, published, client):
    client.acl_setuser(
        "reader", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-hmget"]
    )
    with pytest.raises(OnlineRefused, match="NOPERM") as caught:
        verify(replace(store, username="reader", password="pw"), published)
    client.acl_deluser("reader")

    assert "grant" in caught.value.hint
    assert len(dump(store)) == 9_000


def compare(store, rows, table=TABLE, **job):
    return compare_rows(
        store, ParityJob(PROJECT, table, **job), rows.to_reader(max_chunksize=1_000)
    )


def test_a_sample_finds_what_is_in_it_and_proves_nothing(store, published, client):
    plan = plan_view(PROJECT, TABLE)
    keys = pa.concat_arrays([redis_keys(plan, batch) for batch in published.to_batches()])
    mask = chosen(keys, 0.1)
    inside, outside = mask.argmax(), mask.argmin()
    client.hset(keys[outside].as_py(), COUNT, b"\x20\x07")
    client.hset(key_of(99_999), b"_ts:clicks", b"")

    report = compare(store, published, share=0.1)

    assert (report.sampled, report.checked_entities) == (0.1, mask.sum())
    assert 800 < report.checked_entities < 1_000
    assert (report.is_equal, report.is_proof) == (True, False)
    assert not verify(store, published).is_proof

    client.hset(keys[inside].as_py(), COUNT, b"\x20\x07")
    assert [d.key for d in compare(store, published, share=0.1).differences] == [
        f"user_id={inside}"
    ]


def test_the_report_says_how_fast_it_was(store, published):
    report = verify(store, published)

    assert report.is_proof
    assert report.values_per_second == pytest.approx(36_000 / report.seconds)
    replies = report.compared_bytes
    assert 9_000 * 50 < replies < 9_000 * 70
    assert report.megabytes_per_second == pytest.approx(replies / 1e6 / report.seconds)


def test_a_row_that_has_expired_is_no_difference_and_one_that_has_not_is(store, client):
    rows = snapshot(100)
    export(store, rows)
    age = clock.now() - AS_OF
    client.delete(*(key_of(user) for user in range(10)))

    past = KeyExpiry(int(age.total_seconds() * 1e6) - 120_000_000, 60_000_000)
    report = compare(store, rows, expiry=past)
    assert (report.is_proof, report.expired, report.checked_entities) == (True, 10, 100)

    fresh = KeyExpiry(int(age.total_seconds() * 1e6), 60_000_000)
    report = compare(store, rows, expiry=fresh)
    assert (report.total_differences, report.expired) == (10, 0)
    assert verify(store, rows).total_differences == 10

    client.hset(key_of(50), COUNT, b"\x20\x07")
    assert compare(store, rows, expiry=past).total_differences == 1, "what is there must be right"


def test_lists_are_compared_to_the_bit_and_shown_in_words(store, client):
    types = {"tags": "VARCHAR[]", "counts": "BIGINT[]", "scores": "DOUBLE[]", "at": "DATE[]"}
    table = feature_table("clicks", features=types)
    rows = pa.table(
        {
            "user_id": [1, 2, 3],
            "feature_at": snapshot(3)["feature_at"],
            "tags": pa.array([["a", ""], None, []], pa.list_(pa.string())),
            "counts": pa.array([[1, -2], None, []], pa.list_(pa.int64())),
            "scores": pa.array([[0.5, float("nan")], None, []], pa.list_(pa.float64())),
            "at": pa.array([[date(2026, 3, 1)], None, []], pa.list_(pa.date32())),
        }
    )
    export(store, rows, table=table)
    assert verify(store, rows, table=table).is_proof

    client.hset(key_of(1), feature_field("clicks", "tags"), b"b\x04\n\x02\xc3\xa9")
    client.hset(key_of(2), feature_field("clicks", "counts"), b"r\x00")
    client.hset(key_of(3), feature_field("clicks", "scores"), b"z\x03\n\x01\x00")
    client.hset(key_of(1), feature_field("clicks", "at"), b"\x92\x01\x00")

    assert verify(store, rows, table=table).differences == (
        Difference("user_id=1", "tags", '["a", ""]', '["é"]'),
        Difference("user_id=1", "at", "[2026-03-01T00:00:00+00:00]", "[]"),
        Difference("user_id=2", "counts", "NULL", "[]"),
        Difference("user_id=3", "scores", "[]", "0x7a030a0100"),
    )
