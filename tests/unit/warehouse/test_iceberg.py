"""The Iceberg mirror over real Delta and Iceberg tables: append, time travel, schema evolution (rules 9, 19 and 22)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featmill.errors import LakeError, SchemaChanged
from featmill.warehouse.iceberg import IcebergMirror, identifier_of
from featmill.warehouse.lake import Lake, relation_sql
from tests.unit.warehouse.snapshots import snapshot

NAME = identifier_of("load")


@pytest.fixture(params=["lake", "a lake's", "ö +"])
def lake(request, tmp_path) -> Lake:
    return Lake(tmp_path / request.param)


@pytest.fixture
def mirror(lake) -> IcebergMirror:
    return IcebergMirror(lake.root)


def publish(lake: Lake, number: int, columns: dict[str, pa.Array]):
    """The `number`th snapshot, with these columns beside the key."""
    first = snapshot()
    rows = len(next(iter(columns.values())))
    wanted = replace(
        first,
        snapshot_id=f"2026030{number}T000000Z-0000-aa",
        as_of=first.as_of + timedelta(days=number),
        published_at=first.published_at + timedelta(days=number),
        location=str(lake.location(first.table)),
        rows=rows,
    )
    moment = pa.timestamp("us", "UTC")
    table = pa.table(
        {
            "key": pa.array([str(one) for one in range(rows)], pa.string()),
            **columns,
            "feature_at": pa.array([wanted.as_of] * rows, moment),
            "published_at": pa.array([wanted.published_at] * rows, moment),
            "snapshot_id": pa.array([wanted.snapshot_id] * rows, pa.string()),
        }
    )
    return lake.append(table.to_reader(), wanted)


def rows(sql: str, columns: str = "*"):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"SELECT {columns} FROM ({sql}) ORDER BY ALL").fetchall()


ALL = "key, value, feature_at, published_at, snapshot_id"


def test_a_mirrored_snapshot_holds_the_rows_and_the_identity_of_the_published_one(lake, mirror):
    """Rule 19, in the other format."""
    published = publish(lake, 1, {"value": pa.array([1, None, 3])})

    assert mirror.publish([published]) == [published.snapshot_id]

    assert rows(mirror.relation_sql(NAME, [published.snapshot_id]), ALL) == rows(
        relation_sql([published]), ALL
    )
    summary = mirror.table(NAME).snapshots()[-1].summary
    identity = json.loads(summary.additional_properties["featmill.snapshot"])
    assert identity["content_hash"] == published.content_hash
    assert identity["cut_off"] == published.cut_off.isoformat()


def test_mirroring_twice_appends_once(lake, mirror):
    first = publish(lake, 1, {"value": pa.array([1])})
    second = publish(lake, 2, {"value": pa.array([2])})

    assert mirror.publish([second, first]) == [first.snapshot_id, second.snapshot_id]
    assert IcebergMirror(lake.root).publish([first, second]) == []
    assert list(mirror.snapshots(NAME)) == [first.snapshot_id, second.snapshot_id]


def test_time_travel_gives_the_same_rows_before_and_after_a_later_snapshot(lake, mirror):
    """Rule 22, by featmill's snapshot id and by Iceberg's own."""
    first = publish(lake, 1, {"value": pa.array([1, 2])})
    mirror.publish([first])
    before = rows(mirror.relation_sql(NAME, [first.snapshot_id]))

    mirror.publish([publish(lake, 2, {"value": pa.array([3, 4, 5])})])

    assert rows(mirror.relation_sql(NAME, [first.snapshot_id])) == before
    then = mirror.table(NAME).scan(snapshot_id=mirror.snapshots(NAME)[first.snapshot_id])
    assert then.to_arrow().num_rows == 2
    assert mirror.table(NAME).scan().to_arrow().num_rows == 5


def test_every_published_type_survives(lake, mirror):
    from datetime import UTC, date, datetime
    from decimal import Decimal

    columns = {
        "value": pa.array([Decimal("1.50"), None], pa.decimal128(15, 2)),
        "b": pa.array([True, None]),
        "s": pa.array([-3, None], pa.int16()),
        "i": pa.array([-3, None], pa.int32()),
        "f": pa.array([0.1, None], pa.float32()),
        "d": pa.array([0.1, None]),
        "t": pa.array(["ö", None]),
        "on": pa.array([date(2026, 1, 1), None]),
        "at": pa.array(
            [datetime(2026, 1, 1, 0, 0, 0, 1, UTC), None],
            pa.timestamp("us", "UTC"),
        ),
        "l": pa.array([[1, 2], None], pa.list_(pa.int64())),
        "raw": pa.array([b"\x00\xff", None]),
    }
    published = publish(lake, 1, columns)

    mirror.publish([published])

    listed = ", ".join(f'"{name}"' for name in columns)
    assert rows(mirror.relation_sql(NAME, [published.snapshot_id]), listed) == rows(
        relation_sql([published]), listed
    )


def test_an_added_column_is_null_in_what_was_mirrored_before(lake, mirror):
    first = publish(lake, 1, {"value": pa.array([1])})
    mirror.publish([first])

    second = publish(lake, 2, {"value": pa.array([2]), "extra": pa.array(["x"])})
    mirror.publish([second])

    both = mirror.relation_sql(NAME, [first.snapshot_id, second.snapshot_id])
    assert rows(both, "value, extra") == [(1, None), (2, "x")]
    assert mirror.table(NAME).scan().to_arrow().column("extra").to_pylist().count(None) == 1


@pytest.mark.parametrize(
    ("then", "message"),
    [
        ({"value": pa.array([1], pa.int32())}, "column value is published as int64"),
        ({"other": pa.array([1])}, "column value is published as int64 and is gone"),
    ],
    ids=["a narrower type", "a dropped column"],
)
def test_a_changed_column_is_refused_and_nothing_is_mirrored(lake, mirror, tmp_path, then, message):
    mirror.publish([publish(lake, 1, {"value": pa.array([1])})])
    # Another lake: the Delta table of this one would refuse it before.
    elsewhere = publish(Lake(tmp_path / "elsewhere"), 2, then)

    with pytest.raises(SchemaChanged, match=message):
        mirror.publish([elsewhere])

    assert len(mirror.snapshots(NAME)) == 1
    assert mirror.table(NAME).scan().to_arrow().num_rows == 1


def test_a_snapshot_without_rows_is_a_commit_all_the_same(lake, mirror):
    mirror.publish([publish(lake, 1, {"value": pa.array([1])})])
    empty = publish(lake, 2, {"value": pa.array([], pa.int64())})

    assert mirror.publish([empty]) == [empty.snapshot_id]
    assert rows(mirror.relation_sql(NAME, [empty.snapshot_id])) == []


def test_what_a_killed_run_left_is_removed_when_its_snapshot_is_mirrored(lake, mirror):
    """A file without its commit is not a row of the table, and does not stay."""
    mirror.publish([publish(lake, 1, {"value": pa.array([1])})])
    second = publish(lake, 2, {"value": pa.array([2])})
    folder = Path(mirror.table(NAME).location().removeprefix("file://")) / "data"
    left = folder / f"{second.snapshot_id}.killed.parquet"
    pq.write_table(pa.table({"value": [99]}), left)

    mirror.publish([second])

    assert not left.exists()
    assert rows(mirror.relation_sql(NAME, [second.snapshot_id]), "value") == [(2,)]


def test_a_failure_while_writing_leaves_neither_commit_nor_file(lake, mirror, monkeypatch):
    published = publish(lake, 1, {"value": pa.array([1])})

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    with pytest.raises(LakeError, match=r"could not be mirrored: .*No space left"):
        mirror.publish([published])
    monkeypatch.undo()

    assert mirror.snapshots(NAME) == {}
    assert list(lake.root.glob("_iceberg/**/*.parquet")) == []
    assert mirror.publish([published]) == [published.snapshot_id]


def test_what_is_not_mirrored_is_said(mirror):
    with pytest.raises(LakeError, match=r"there is no Iceberg table default\.load_v1"):
        mirror.relation_sql(NAME, ["x"])
