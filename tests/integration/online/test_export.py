"""A snapshot goes online whole, in Feast's bytes, and takes away what it replaces (rule 21)."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pytest

from exporters.redis import ExportResult
from featmill.errors import EncodingError, LakeError, OnlineError, OnlineRefused
from featmill.online.connection import OnlineTarget
from featmill.online.live import live_key, read_live, read_record
from tests.integration.online.publications import (
    PROJECT,
    TABLE,
    dump,
    export,
    job,
    snapshot,
    verify,
)
from tests.unit.online.tables import feast, feature_table

pytestmark = pytest.mark.redis


def keys_of(rows):
    return lambda _: rows.select(["user_id"]).to_reader()


def test_a_first_export_is_live_and_equal(store):
    rows = snapshot(50_000)
    seen: list[int] = []

    result = export(store, rows, on_progress=seen.append)

    assert (result.rows, result.deleted, result.resumed_from) == (50_000, 0, 0)
    assert not result.unchanged
    assert result.bytes > 50_000 * 100
    assert seen == sorted(seen)
    assert seen[-1] == 50_000
    assert verify(store, rows).is_equal
    record = read_live(store, PROJECT)["clicks"]
    assert (record.is_complete, record.position, record.rows) == (True, 50_000, 50_000)
    assert record.features == ("count_7d", "rate_7d", "city")
    assert record.finished_at >= record.started_at


@pytest.mark.feast
def test_the_store_holds_what_feasts_own_store_writes(store):
    value_type = feast()[3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
        from feast.utils import _convert_arrow_fv_to_proto
    rows = snapshot(500)
    export(store, rows)
    other = OnlineTarget(socket_path=store.socket_path, db=1)
    fields = [
        SimpleNamespace(
            name=f.name,
            dtype=SimpleNamespace(to_value_type=lambda f=f: value_type[f.type.kind.name]),
        )
        for f in TABLE.features
    ]
    view = SimpleNamespace(
        name="clicks",
        features=fields,
        batch_source=SimpleNamespace(timestamp_field="feature_at", created_timestamp_column=None),
    )
    data = _convert_arrow_fv_to_proto(rows, view, {"user_id": value_type.INT64})
    config = SimpleNamespace(
        project=PROJECT,
        entity_key_serialization_version=3,
        registry=SimpleNamespace(enable_online_feature_view_versioning=False),
        online_store=RedisOnlineStoreConfig(connection_string=other.feast_connection_string()),
    )
    feast_store = RedisOnlineStore()
    try:
        feast_store.online_write_batch(config, view, data, None)
        read = feast_store.online_read(config, view, [data[3][0], data[7][0]])
    finally:
        feast_store._client.close()

    assert dump(other) == dump(store)
    assert read[0][1]["count_7d"].int64_val == 30
    assert read[1][1]["city"].WhichOneof("val") is None, "user 7 has no city"


def test_the_same_snapshot_again_writes_nothing_unless_forced(store):
    rows = snapshot(100)
    export(store, rows)
    with store.client() as client:
        client.hset(next(client.scan_iter(match=b"\x01*")), b"_ts:clicks", b"")

    again = export(store, rows, release_id="r2")

    assert again == ExportResult(0, 0, 0, again.seconds, 0, unchanged=True)
    assert read_record(store, PROJECT, "clicks").release_id == "r2"
    assert verify(store, rows).total_differences == 1
    assert export(store, rows, force=True).rows == 100
    assert verify(store, rows).is_equal


def test_a_snapshot_takes_away_the_entities_it_lacks(store):
    export(store, snapshot(300))
    rows = snapshot(200, day=1, first=200)
    asked = []

    def vanished(snapshots):
        asked.append(snapshots)
        return snapshot(200).select(["user_id"]).to_reader(max_chunksize=64)

    result = export(store, rows, "s2", vanished=vanished)

    assert (asked, result.deleted) == ([("s1",)], 200)
    assert verify(store, rows).is_equal
    assert len(dump(store)) == 200


def test_views_that_share_an_entity_keep_each_others_fields(store):
    rows = snapshot(10)
    orders = feature_table("orders", features={"count_7d": "BIGINT"})
    export(store, rows)
    export(store, rows, table=orders)

    result = export(store, rows.slice(5), "s2", vanished=keys_of(rows.slice(0, 5)))

    assert result.deleted == 5
    assert verify(store, rows, table=orders).is_equal
    assert verify(store, rows.slice(5)).is_equal


def test_fields_of_a_dropped_feature_go(store):
    rows = snapshot(10)
    export(store, rows)
    narrow = feature_table("clicks", features={"count_7d": "BIGINT"})

    export(store, rows.slice(2), "s2", table=narrow, vanished=keys_of(rows.slice(0, 2)))

    assert verify(store, rows.slice(2), table=narrow).is_equal
    assert {len(fields) for fields in dump(store).values()} == {2}
    assert read_record(store, PROJECT, "clicks").dropped == ()


def test_after_an_unfinished_run_what_either_snapshot_left_is_replaced(store):
    export(store, snapshot(100))
    with pytest.raises(LakeError):
        export(store, snapshot(50, day=1, first=100), "s2", total_rows=60)
    asked = []

    def vanished(snapshots):
        asked.append(snapshots)
        return snapshot(150).select(["user_id"]).to_reader()

    rows = snapshot(50, day=2, first=150)
    result = export(store, rows, "s3", vanished=vanished)

    assert (asked, result.deleted) == ([("s1", "s2")], 150)
    assert verify(store, rows).is_equal
    assert len(dump(store)) == 50


@pytest.mark.parametrize("count", [90, 110])
def test_rows_that_are_not_the_registrys_count_leave_the_view_incomplete(store, count):
    with pytest.raises(LakeError, match=f"should have 100 rows, {count} were read"):
        export(store, snapshot(count), total_rows=100)

    report = verify(store, snapshot(count))
    assert report.is_incomplete
    assert not report.is_equal
    assert report.total_differences == 0


def test_a_value_without_an_online_form_leaves_a_run_to_resume(store):
    rows = snapshot(60_000)
    table = feature_table("clicks", features={"count_7d": "INTEGER"})
    counts = rows["count_7d"].to_pylist()
    counts[50_000] = 2**31
    broken = rows.set_column(2, "count_7d", pa.array(counts))
    with pytest.raises(EncodingError, match="count_7d"):
        export(store, broken, table=table)
    record = read_record(store, PROJECT, "clicks")
    assert (record.is_complete, record.position) == (False, 40_000)

    result = export(store, rows, table=table)

    assert (result.resumed_from, result.rows) == (40_000, 20_000)
    assert verify(store, rows, table=table).is_equal


def test_a_refused_write_is_named_with_the_servers_words(store):
    with store.client() as client:
        client.config_set("maxmemory", "1")

    with pytest.raises(OnlineRefused, match="OOM") as caught:
        export(store, snapshot(1_000))

    assert "maxmemory" in caught.value.hint


def test_two_exports_of_one_view_both_stop_and_nothing_is_trusted(store):
    rows = snapshot(60_000)

    def interrupted():
        for number, batch in enumerate(rows.to_batches(max_chunksize=10_000)):
            if number == 4:
                with pytest.raises(LakeError):
                    export(store, snapshot(10, day=1), "s2", total_rows=11)
            yield batch

    from exporters.redis import export_view

    reader = pa.RecordBatchReader.from_batches(rows.schema, interrupted())
    with pytest.raises(OnlineRefused, match="another export of clicks is running"):
        export_view(store, job(rows), reader, vanished=None)

    record = read_record(store, PROJECT, "clicks")
    assert (record.is_complete, record.position) == (False, 0)
    assert export(store, rows).resumed_from == 0
    assert verify(store, rows).is_equal


def test_a_record_of_another_version_is_named_and_force_replaces_it(store):
    rows = snapshot(10)
    with store.client() as client:
        client.hset(live_key(PROJECT), "clicks", '{"state": "done"}')

    with pytest.raises(OnlineError, match="live record of clicks cannot be read"):
        export(store, rows)
    assert export(store, rows, force=True).rows == 10
    assert verify(store, rows).is_equal


def test_rows_without_a_feature_are_refused_before_anything_is_written(store):
    with pytest.raises(EncodingError, match="no column city"):
        export(store, snapshot(10).drop_columns(["city"]))

    assert dump(store) == {}
    assert read_live(store, PROJECT) == {}


def test_an_empty_snapshot_is_live(store):
    assert export(store, snapshot(0)).rows == 0
    assert verify(store, snapshot(0)).is_equal
    assert read_record(store, PROJECT, "clicks").is_complete


@pytest.mark.parametrize(
    ("policy", "memory", "warns"),
    [("allkeys-lru", "1gb", True), ("allkeys-lru", "0", False), ("noeviction", "1gb", False)],
)
def test_a_store_that_may_drop_rows_is_warned_of(store, caplog, policy, memory, warns):
    with store.client() as client:
        client.config_set("maxmemory", memory)
        client.config_set("maxmemory-policy", policy)
    try:
        export(store, snapshot(3))
    finally:
        with store.client() as client:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")

    assert (f"maxmemory-policy {policy}" in caplog.text) is warns


def test_a_user_who_may_not_ask_for_the_policy_exports_all_the_same(store):
    with store.client() as client:
        client.execute_command("ACL SETUSER", "blind", "on", "nopass", "~*", "+@all", "-info")
    blind = replace(store, username="blind", password="x")

    assert export(blind, snapshot(3)).rows == 3
