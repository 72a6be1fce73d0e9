"""Retention and erasure over real Delta tables: what goes, what stays, and what is said of it (rules 9 and 22)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from featmill.errors import LakeError, SnapshotExpired, UsageError
from featmill.governance.erasure import erase, training_sets_with
from featmill.governance.retention import decide, expire
from featmill.warehouse.lake import Lake, relation_sql
from featmill.warehouse.promotions import record, record_live
from featmill.warehouse.registry import Registry
from featmill.warehouse.training_pins import TrainingPin, forget, pin, pins
from tests.unit.warehouse.snapshots import snapshot

DAYS = 6
NOW = datetime(2026, 3, 20, tzinfo=UTC)


@pytest.fixture(params=["lake", "a lake's ö +"])
def lake(request, tmp_path) -> Lake:
    return Lake(tmp_path / request.param)


@pytest.fixture
def registry(lake) -> Registry:
    """Six days of one table, each released by itself; user 2 is in each of them."""
    registry = Registry(lake)
    for day in range(DAYS):
        registry.commit(snapshot().as_of + timedelta(days=day), [publish(lake, day)], "p")
    return registry


def publish(lake: Lake, day: int):
    first = snapshot()
    wanted = replace(
        first,
        snapshot_id=f"day{day}",
        as_of=first.as_of + timedelta(days=day),
        published_at=first.published_at + timedelta(days=day),
        location=str(lake.location(first.table)),
        rows=3,
    )
    table = pa.table(
        {
            "user_id": pa.array([1, 2, 3], pa.int64()),
            "value": pa.array([day, day * 10, day * 100], pa.int64()),
            "published_at": pa.array([wanted.published_at] * 3, pa.timestamp("us", "UTC")),
            "snapshot_id": pa.array([wanted.snapshot_id] * 3, pa.string()),
        }
    )
    return lake.append(table.to_reader(), wanted)


def read(snapshots, columns="user_id, value"):
    with duckdb.connect() as connection:
        return connection.execute(
            f"SELECT {columns} FROM ({relation_sql(snapshots)}) ORDER BY ALL"
        ).fetchall()


def kept(registry, days: int, keep_last: int = 1) -> dict[str, tuple[str, ...]]:
    decisions = decide(registry, timedelta(days=days), keep_last)
    return {one.snapshot.snapshot_id: one.keeps for one in decisions}


def user(number: int) -> pa.Table:
    return pa.table({"user_id": pa.array([number], pa.int64())})


# -- retention


def test_age_is_counted_from_the_newest_release_and_its_edge_stays(registry):
    """Rule 2: never the clock. Two days before day 5 is day 3."""
    found = kept(registry, days=2)

    assert [name for name, keeps in found.items() if not keeps] == ["day0", "day1", "day2"]
    assert found["day3"] == ("young",)
    assert found["day5"] == ("young", "newest", "newest release")


def test_what_expires_is_gone_and_what_stays_reads_the_same(registry, lake):
    """Rule 22 for what stays; the bytes of what went are freed."""
    before = {s.snapshot_id: read([s]) for s in lake.snapshots("load")}

    freed = expire(decide(registry, timedelta(days=2), 1))

    assert freed > 0
    there = lake.snapshots("load")
    assert [s.snapshot_id for s in there] == ["day3", "day4", "day5"]
    assert {s.snapshot_id: read([s]) for s in there} == {
        name: rows for name, rows in before.items() if name in ("day3", "day4", "day5")
    }
    files = {p.parent.name for p in lake.location("load").rglob("*.parquet")}
    assert files == {"snapshot_id=day3", "snapshot_id=day4", "snapshot_id=day5"}


def test_an_expired_snapshot_is_said_to_be_expired_and_readers_pass_it_by(registry, lake):
    expire(decide(registry, timedelta(days=2), 1))

    with pytest.raises(SnapshotExpired, match="load: snapshot day0 expired on"):
        lake.snapshot("load", "day0")
    with pytest.raises(LakeError, match="has no snapshot 'never'"):
        lake.snapshot("load", "never")
    assert [s.snapshot_id for s in registry.released_snapshots("load")] == ["day3", "day4", "day5"]


def test_expiring_twice_removes_nothing_more(registry, lake):
    expire(decide(registry, timedelta(days=2), 1))
    version = DeltaTable(str(lake.location("load"))).version()

    assert expire(decide(registry, timedelta(days=2), 1)) == 0
    assert DeltaTable(str(lake.location("load"))).version() == version


def test_a_table_is_append_only_again_and_takes_the_next_snapshot(registry, lake):
    expire(decide(registry, timedelta(days=2), 1))

    configuration = DeltaTable(str(lake.location("load"))).metadata().configuration
    assert configuration["delta.appendOnly"] == "true"
    published = publish(lake, DAYS)
    assert read([published]) == [(1, 6), (2, 60), (3, 600)]


def test_an_expired_as_of_can_be_published_again(registry, lake):
    expire(decide(registry, timedelta(days=2), 1))

    again = publish(lake, 0)

    assert lake.snapshot("load", "day0") == again
    assert read([again]) == [(1, 0), (2, 0), (3, 0)]


def test_a_snapshot_that_a_training_set_names_stays_until_it_is_forgotten(registry, lake, tmp_path):
    manifest = tmp_path / "set.parquet.manifest.json"
    pin(lake, TrainingPin(str(manifest), NOW, {"load": ["day1"]}))

    assert kept(registry, days=2)["day1"] == (f"training set {manifest}",)
    forget(lake, manifest)
    assert kept(registry, days=2)["day1"] == ()
    with pytest.raises(UsageError, match="no training set has the manifest"):
        forget(lake, manifest)


def test_a_pin_that_cannot_be_read_stops_retention(registry, lake, tmp_path):
    """Fails closed: what it needs is not known."""
    pin(lake, TrainingPin(str(tmp_path / "m.json"), NOW, {"load": ["day1"]}))
    (path,) = (lake.root / "_registry" / "training").glob("*.json")
    path.write_text("{")

    with pytest.raises(LakeError, match="cannot be read as a training set's pin"):
        decide(registry, timedelta(days=2), 1)


def test_what_is_online_and_what_a_rollback_would_bring_back_stay(registry, lake):
    releases = registry.releases()
    for day in (0, 1, 1, 2):
        record_live(lake, releases[day], ["load"], NOW + timedelta(hours=day))

    found = kept(registry, days=1)

    assert found["day2"] == ("online",)
    assert found["day1"] == ("a rollback",)
    assert found["day0"] == ()


def test_after_a_rollback_what_the_next_one_would_bring_back_stays_too(registry, lake):
    releases = registry.releases()
    for day in (0, 1, 2):
        record_live(lake, releases[day], ["load"], NOW + timedelta(hours=day))
    record(lake, "rollback", releases[1].release_id)

    found = kept(registry, days=1)

    assert found["day1"] == ("online",)
    assert found["day2"] == ("a rollback",)
    assert found["day0"] == ("a rollback",)


def test_so_many_newest_as_ofs_stay_whatever_their_age(registry):
    found = kept(registry, days=0, keep_last=3)

    assert [name for name, keeps in found.items() if keeps] == ["day3", "day4", "day5"]


def test_what_a_kept_snapshot_is_stored_as_changes_of_stays(registry, lake, monkeypatch):
    from featmill.warehouse.model import Change

    chained = []
    for one in lake.snapshots("load"):
        number = int(one.snapshot_id[3:])
        change = Change(f"day{number - 1}", number, 1, 1, ("user_id",), None, True)
        chained.append(replace(one, change=change) if number in (2, 3) else one)
    monkeypatch.setattr(Lake, "snapshots", lambda _self, _table: chained)

    found = kept(registry, days=2)

    assert found["day2"] == ("base of day3",)
    assert found["day1"] == ("base of day2",)
    assert found["day0"] == ()


# -- erasure


def test_an_erased_entity_is_in_no_snapshot_and_in_no_file(registry, lake):
    """Rule 9: only erasure rewrites, and the snapshots say so."""
    done = erase(lake, "load", user(2))

    assert done.rows == {f"day{day}": 1 for day in range(DAYS)}
    for one in lake.snapshots("load"):
        assert 2 not in [row[0] for row in read([one])]
    assert lake.erased("load") == {f"day{day}": 1 for day in range(DAYS)}
    with duckdb.connect() as connection:
        held = connection.execute(
            "SELECT DISTINCT user_id FROM read_parquet(?) ORDER BY 1",
            [[str(p) for p in lake.location("load").rglob("*.parquet")]],
        ).fetchall()
    assert held == [(1,), (3,)]


def test_other_entities_keep_their_bytes(registry, lake):
    before = read(lake.snapshots("load"), "user_id, value, published_at, snapshot_id")

    erase(lake, "load", user(2))

    after = read(lake.snapshots("load"), "user_id, value, published_at, snapshot_id")
    assert after == [row for row in before if row[0] != 2]


def test_erasing_who_is_not_there_writes_nothing(registry, lake):
    version = DeltaTable(str(lake.location("load"))).version()

    assert erase(lake, "load", user(99)).rows == {}
    assert DeltaTable(str(lake.location("load"))).version() == version
    assert lake.erased("load") == {}


def test_blanked_columns_are_null_and_the_row_stays(registry, lake):
    erase(lake, "load", user(2), blanked=["value"])

    assert read([lake.snapshot("load", "day3")]) == [(1, 3), (2, None), (3, 300)]
    assert lake.erased("load")["day3"] == 1


def test_the_erased_key_does_not_stand_in_the_log(registry, lake):
    """What erasure writes down must not be what it erased."""
    erase(lake, "load", pa.table({"user_id": pa.array([2], pa.int64())}))

    for path in (Path(lake.location("load")) / "_delta_log").glob("*.json"):
        for line in path.read_text().splitlines():
            said = json.loads(line).get("commitInfo", {}).get("featmill.maintenance", "{}")
            assert set(json.loads(said)) <= {"kind", "at", "snapshots"}


def test_the_training_sets_made_of_what_was_erased_are_named(registry, lake, tmp_path):
    pin(lake, TrainingPin(str(tmp_path / "of day1"), NOW, {"load": ["day1"]}))
    pin(lake, TrainingPin(str(tmp_path / "of another"), NOW, {"other": ["day1"]}))

    done = erase(lake, "load", user(2))

    assert len(pins(lake)) == 2
    assert training_sets_with(lake, [done]) == [str(tmp_path / "of day1")]
