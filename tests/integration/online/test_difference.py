"""In place only what differs from what is online is written, and what comes of it is the new snapshot (rule 21)."""

from __future__ import annotations

import math
import struct
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from exporters.redis import writing
from exporters.redis.export import HALF_ROW
from featmill import clock
from featmill.online.expiry import KeyExpiry
from featmill.online.live import read_record
from featmill.online.plan import feature_field
from featmill.warehouse.maintenance import Maintenance, erase_rows
from tests.integration.online.lakes import Shop, as_of_day, moment, replaced
from tests.integration.online.publications import PROJECT, TABLE, dump, export, snapshot
from tests.unit.online.tables import feature_table

pytestmark = pytest.mark.redis

NAN = math.nan
OTHER_NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def monitored(store, action):
    """The commands that write rows while the action runs, by name."""
    with store.client() as client:
        client.config_resetstat()
    result = action()
    with store.client() as client:
        stats = client.info("commandstats")
    return result, {
        name: stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("hset", "hdel")
    }


def test_only_changed_fields_of_changed_rows_are_written(store, shop):
    old = snapshot(1_000)
    first = shop.export(store, shop.publish(0, old))
    new = replaced(replaced(old, "count_7d", {3: 33, 4: 44}), "city", {4: None, 14: "new"})
    second = shop.publish(1, new)

    result, calls = monitored(store, lambda: shop.export(store, second))

    assert (first.changed, first.rows, first.reason) == (None, 1_000, "nothing is online yet")
    assert (result.changed, result.rows, result.values, result.deleted) == (3, 3, 4, 0)
    assert result.reason == ""
    # One HSET a row, and the marks: those of the script are counted as well.
    assert calls["hset"] < 3 + 5
    assert calls["hdel"] == 0
    assert result.bytes < first.bytes / 20
    assert shop.verify(store, second).is_equal
    record = read_record(store, PROJECT, "clicks")
    assert (record.base, record.differing, record.position, record.rows) == (
        None,
        None,
        1_000,
        1_000,
    )


def test_a_field_that_did_not_change_is_not_sent(store, shop):
    """What another hand put there stays: had the field been written, it would be gone."""
    old = snapshot(10)
    shop.export(store, shop.publish(0, old))
    key = next(key for key in dump(store) if struct.pack("<q", 4) in key)
    with store.client() as client:
        client.hset(key, feature_field("clicks", "city"), b"mark")

    shop.export(store, shop.publish(1, replaced(old, "count_7d", {4: 1})))

    with store.client() as client:
        assert client.hget(key, feature_field("clicks", "city")) == b"mark"


def test_entities_come_and_go(store, shop):
    shop.export(store, shop.publish(0, snapshot(300)))
    second = shop.publish(1, snapshot(300, first=100))

    result = shop.export(store, second)

    assert (result.changed, result.values, result.deleted) == (100, 300, 100)
    assert shop.verify(store, second).is_equal
    assert len(dump(store)) == 300


def test_where_only_the_event_time_moved_only_it_is_written(store, shop):
    old = snapshot(1_000)
    full = shop.export(store, shop.publish(0, old))
    second = shop.publish(1, as_of_day(old, 1))

    result = shop.export(store, second)

    assert (result.changed, result.values) == (1_000, 0)
    assert result.bytes < full.bytes * 0.7
    assert shop.verify(store, second).is_equal


def test_floats_differ_by_their_bits_and_null_equals_null(store, shop):
    table = feature_table("clicks", features={"x": "DOUBLE", "y": "FLOAT", "l": "DOUBLE[]"})

    def rows(day, values):
        count = len(values)
        return pa.table(
            {
                "user_id": pa.array(range(count), pa.int64()),
                "feature_at": pa.array([moment(0)] * count, pa.timestamp("us", "UTC")),
                "x": pa.array(values, pa.float64()),
                "y": pa.array(values, pa.float32()),
                "l": pa.array(
                    [None if v is None else [v, 1.0] for v in values], pa.list_(pa.float64())
                ),
            }
        )

    shop.export(
        store, shop.publish(0, rows(0, [0.0, -0.0, None, NAN, 1.5, None]), table=table), table=table
    )
    second = shop.publish(1, rows(1, [-0.0, 0.0, None, NAN, 1.5, 0.0]), table=table)

    result = shop.export(store, second, table=table)

    assert (result.changed, result.values) == (3, 9)
    assert shop.verify(store, second, table=table).is_equal


def test_the_visible_rows_are_compared_not_the_snapshots(store, shop):
    """Rules 12 and 14: a row may expire, and a NULL may be filled from before."""
    carried = tuple(f.model_copy(update={"ignore_nulls": f.name == "city"}) for f in TABLE.features)
    table = TABLE.model_copy(update={"ttl": timedelta(days=2), "features": carried})
    old = snapshot(100)
    first = shop.publish(0, old)
    shop.export(store, first, table=table)
    fresh = as_of_day(replaced(old, "city", dict.fromkeys(range(50), None)), 1)
    both = pa.concat_tables([fresh.slice(0, 50), old.slice(50)])
    second = shop.publish(1, both)
    result = shop.export(store, second, table=table)
    assert (result.changed, result.values) == (50, 0), "the cities are carried"
    assert shop.verify(store, second, table=table).is_equal

    third = shop.publish(2, both)
    result = shop.export(store, third, table=table)

    assert (result.reason, result.changed, result.deleted) == ("", 0, 50)
    assert shop.verify(store, third, table=table).is_equal
    assert len(dump(store)) == 50


def narrower(table):
    return table.model_copy(update={"features": table.features[:2]})


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        (TABLE.model_copy(update={"ttl": timedelta(days=30)}), "was declared otherwise"),
        (narrower(TABLE), "was declared otherwise"),
    ],
)
def test_what_was_declared_otherwise_is_written_whole(store, shop, declared, reason):
    shop.export(store, shop.publish(0, snapshot(100)))
    second = shop.publish(1, as_of_day(snapshot(100), 1))

    result = shop.export(store, second, table=declared)

    assert reason in result.reason
    assert (result.changed, result.rows) == (None, 100)
    assert shop.verify(store, second, table=declared).is_equal
    assert {len(fields) for fields in dump(store).values()} == {len(declared.features) + 1}


def test_force_writes_every_row(store, shop):
    shop.export(store, shop.publish(0, snapshot(100)))

    result = shop.export(store, shop.publish(1, snapshot(100)), force=True)

    assert (result.changed, result.rows, result.reason) == (None, 100, "asked for by --force")


def test_a_correction_of_history_in_between_does_not_mislead(store, shop):
    """What was online is worked out with the releases there were then."""
    table = TABLE.model_copy(update={"ttl": timedelta(days=5)})
    newest = as_of_day(snapshot(10, day=1), 1)
    shop.publish(0, snapshot(10), table=table)
    first = shop.publish(2, newest.slice(5), table=table)
    shop.export(store, first, table=table)
    shop.publish(1, replaced(newest, "count_7d", {7: 7_777}), table=table)
    second = shop.publish(3, replaced(newest.slice(5), "count_7d", {6: 6_666}), table=table)

    result = shop.export(store, second, table=table)

    assert shop.verify(store, second, table=table).is_equal
    assert result.reason == ""


def test_a_snapshot_that_the_lake_lost_is_written_over_whole(store, shop, tmp_path):
    """Nobody knows which entities it had: the store's own keys are held against the new rows."""
    shop.export(store, shop.publish(0, snapshot(100)))
    store_of_others(store)
    other = Shop(tmp_path / "anew")
    second = other.publish(1, as_of_day(snapshot(60), 1))

    result = other.export(store, second)

    assert (result.rows, result.deleted) == (60, 40)
    assert "is not in the lake" in result.reason
    assert other.verify(store, second).is_equal
    assert len(dump(store)) == 60 + 2


def store_of_others(store):
    """What the sweep must leave alone: another project's entity, and another view's in this project."""
    export(store, snapshot(1), project="work" + PROJECT)
    export(
        store,
        snapshot(1, first=1_000),
        table=feature_table("orders", features={"count_7d": "BIGINT"}),
    )


@pytest.mark.parametrize("blanked", [(), ("city",)])
def test_what_was_erased_goes_offline_with_the_next_export(store, shop, blanked):
    """Erasure rewrites (rule 9): the lake reads as if the rows had never been there."""
    shop.export(store, first := shop.publish(0, snapshot(100)))
    gone = pa.table({"user_id": pa.array([3, 4], pa.int64())})
    done = Maintenance(kind="erased", at=moment(31), snapshots={first.snapshot_id: 2})
    erase_rows(shop.registry.lake.location("clicks"), gone, blanked, done)

    result = shop.export(store, first)

    assert (result.changed, result.deleted) == (None, 0 if blanked else 2)
    assert shop.verify(store, first).is_equal
    city = feature_field("clicks", "city")
    cities = {fields[city] for fields in dump(store).values()}
    assert not any(b"city 0 3" in one and len(one) == 10 for one in cities)
    assert len(dump(store)) == (100 if blanked else 98)
    second = shop.publish(1, as_of_day(snapshot(90), 1))
    assert shop.export(store, second).reason == ""
    assert shop.verify(store, second).is_equal


DAY_US = 86_400_000_000


def expiring(grace_days):
    return KeyExpiry(ttl_us=10 * DAY_US, grace_us=grace_days * DAY_US)


def test_keys_expire_behind_their_rows_and_a_key_that_may_be_gone_is_written_whole(store, shop):
    """Half a row would lie: its other features would read as NULL."""
    old = snapshot(10)
    with clock.frozen(moment(0)):
        first = shop.publish(0, old)
        shop.export(store, first, expiry=expiring(20_000))
    key = next(key for key in dump(store) if struct.pack("<q", 4) in key)
    with store.client() as client:
        assert client.pexpiretime(key) == int(moment(20_010).timestamp() * 1_000)
        client.delete(key)

    second = shop.publish(1, replaced(old, "count_7d", {4: 1, 5: 1}))
    with clock.frozen(moment(20_009.5)):
        result = shop.export(store, second, expiry=expiring(20_000))

    assert (result.changed, result.values) == (2, 6)
    assert shop.verify(store, second).is_equal


def lost(store, *users):
    """Take whole entities away, as an eviction does."""
    keys = [key for key in dump(store) for user in users if struct.pack("<q", user) in key]
    with store.client() as client:
        client.delete(*keys)


@pytest.mark.parametrize("column", ["count_7d", "feature_at"])
def test_a_row_that_the_store_has_lost_is_not_half_written(store, shop, column):
    """Its other features would read as NULL, and the record would say that the view is complete."""
    old = snapshot(5_000)
    shop.export(store, shop.publish(0, old))
    lost(store, 4_321)
    fresh = as_of_day(old, 1)
    if column == "count_7d":
        fresh = replaced(old, "count_7d", {4_321: 1, 7: 7})
    second = shop.publish(1, fresh)

    result = shop.export(store, second)

    assert (result.changed, result.rows) == (None, 5_000)
    assert result.reason == HALF_ROW
    assert shop.verify(store, second).is_equal
    assert shop.export(store, second).unchanged


def test_a_killed_runs_half_rows_are_made_whole_by_the_next(store, shop, monkeypatch):
    """What the store had lost the first run may have written in half, and its replies nobody has seen."""
    old = snapshot(5_000)
    shop.export(store, shop.publish(0, old))
    lost(store, 4_321)
    second = shop.publish(1, as_of_day(old, 1))
    with monkeypatch.context() as patched:
        patched.setattr(writing, "_refuse_new", lambda _: None)
        patched.setattr(writing.Run, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            shop.export(store, second)
    assert not shop.verify(store, second).is_equal

    result = shop.export(store, second)

    assert (result.changed, result.reason) == (5_000, "")
    assert shop.verify(store, second).is_equal


def killed(run):
    """Nothing is marked, and all that was sent arrives."""
    run.settle()
    raise KeyboardInterrupt


def test_keys_that_are_to_stay_again_do(store, shop):
    first = shop.publish(0, snapshot(10))
    shop.export(store, first, expiry=expiring(20_000))

    result = shop.export(store, first)

    assert "another time than before" in result.reason
    with store.client() as client:
        assert {client.ttl(key) for key in dump(store)} == {-1}
    assert shop.export(store, first).unchanged
    assert not read_record(store, PROJECT, "clicks").may_expire


def test_the_rows_column_order_and_keys_of_two_columns(store, shop):
    table = feature_table(
        "clicks", keys={"city": "VARCHAR", "user_id": "BIGINT"}, features={"count_7d": "BIGINT"}
    )
    rows = (
        snapshot(500)
        .set_column(4, "city", pc.fill_null(snapshot(500)["city"], ""))
        .drop_columns(["rate_7d"])
    )
    shop.export(store, shop.publish(0, rows, table=table), table=table)
    second = shop.publish(
        1, replaced(rows, "count_7d", {u: -u for u in range(1, 500, 7)}), table=table
    )

    result = shop.export(store, second, table=table)

    assert result.changed == result.values == 72
    assert shop.verify(store, second, table=table).is_equal
