"""The lake and the registry over it: real Delta tables (rules 9, 13, 19 and 22)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from featmill import clock
from featmill.errors import LakeError, NoRelease, SchemaChanged, UsageError
from featmill.warehouse.features_database import write_features_database
from featmill.warehouse.lake import Lake, newest_per_as_of, relation_sql
from featmill.warehouse.registry import Registry
from tests.unit.warehouse.snapshots import snapshot


@pytest.fixture(params=["lake", "a lake's", "ö +"])
def lake(request, tmp_path) -> Lake:
    """A lake below a folder of any name."""
    return Lake(tmp_path / request.param)


def append(lake: Lake, values: list, kind: pa.DataType | None = None, **parts):
    wanted = snapshot(**parts)
    wanted = replace(wanted, location=str(lake.location(wanted.table)), rows=len(values))
    table = pa.table(
        {
            "key": pa.array([str(v) for v in values], pa.string()),
            "value": pa.array(values, kind or pa.int64()),
            "published_at": pa.array(
                [wanted.published_at] * len(values), pa.timestamp("us", "UTC")
            ),
            "snapshot_id": pa.array([wanted.snapshot_id] * len(values), pa.string()),
        }
    )
    return lake.append(table.to_reader(), wanted)


def read(snapshots, columns="value"):
    with duckdb.connect() as connection:
        return connection.execute(
            f"SELECT {columns} FROM ({relation_sql(snapshots)}) ORDER BY ALL"
        ).fetchall()


def test_a_snapshot_reads_back_as_it_was_written(lake):
    """Rule 19: identity and rows, from the lake alone."""
    written = append(lake, [1, 2])

    assert lake.tables() == ["load"]
    assert lake.snapshots("load") == [written]
    assert written == replace(snapshot(location=written.location, rows=2), delta_version=0)
    assert read([written], "value, snapshot_id") == [
        (1, "20260305T000000Z-0000-aa"),
        (2, "20260305T000000Z-0000-aa"),
    ]


def test_a_snapshot_gives_the_same_rows_after_later_ones(lake):
    """Rule 22."""
    first = append(lake, [1, 2])
    append(lake, [3], ordinal=1)
    append(lake, [4], day=6)

    assert read([first]) == [(1,), (2,)]
    assert [s.delta_version for s in lake.snapshots("load")] == [0, 2, 1]


def test_a_snapshot_without_rows_has_columns_and_their_types(lake):
    empty = append(lake, [])

    with duckdb.connect() as connection:
        described = connection.execute(f"DESCRIBE {relation_sql([empty])}").fetchall()
    assert [(row[0], row[1]) for row in described] == [
        ("key", "VARCHAR"),
        ("value", "BIGINT"),
        ("published_at", "TIMESTAMP WITH TIME ZONE"),
        ("snapshot_id", "VARCHAR"),
    ]
    assert read([empty]) == []


@pytest.mark.parametrize("kind", [pa.int32(), pa.float64(), pa.string(), pa.decimal128(10, 2)])
def test_a_live_column_does_not_change_its_type(lake, kind):
    """delta-rs would cast 1.5 into a long in silence."""
    append(lake, [1])
    values: list = ["1"] if kind == pa.string() else [1]

    with pytest.raises(SchemaChanged, match="column value is published as int64"):
        append(lake, values, kind, ordinal=1)

    assert len(lake.snapshots("load")) == 1


def test_a_commit_that_is_not_ours_is_an_error(lake):
    """Readers must not trust what no build published."""
    (location,) = {append(lake, [1]).location}
    write_deltalake(location, DeltaTable(location).to_pyarrow_table(), mode="append")

    with pytest.raises(LakeError, match="version 1 was not written by featmill"):
        lake.snapshots("load")


def test_a_snapshot_whose_files_are_gone_is_an_error(lake):
    published = append(lake, [1])

    with pytest.raises(LakeError, match="are gone"):
        relation_sql([replace(published, snapshot_id="20260305T000000Z-0009-zz")])
    with pytest.raises(LakeError, match="no snapshot to read"):
        relation_sql([])


def test_a_data_file_without_its_commit_is_not_read(lake):
    """What kill -9 leaves between writing the rows and committing them."""
    published = append(lake, [1])
    (written,) = lake.root.rglob("*.parquet")
    (written.parent / "part-orphan.parquet").write_bytes(written.read_bytes())

    assert read([published]) == [(1,)]


def test_of_one_as_of_the_later_published_then_the_higher_id_is_newest():
    """Rule 13, whatever the order they come in."""
    early, late = (
        snapshot(ordinal=3),
        replace(snapshot(ordinal=1), published_at=snapshot(ordinal=4).published_at),
    )
    twin = replace(late, snapshot_id="20260305T000000Z-0002-aa")
    other = snapshot(day=4)

    assert newest_per_as_of([early, late, other]) == [other, late]
    assert newest_per_as_of([twin, late]) == newest_per_as_of([late, twin]) == [twin]


def test_only_released_snapshots_are_read(lake, tmp_path):
    """The registry is the commit point."""
    registry = Registry(lake)
    first, second = append(lake, [1]), append(lake, [2], day=6)
    with pytest.raises(NoRelease):
        registry.newest()

    registry.commit(first.as_of, [first], "shop")

    assert registry.released_snapshots("load") == [first]
    assert write_features_database(tmp_path / "features.duckdb", registry) == ["load"]
    with duckdb.connect(str(tmp_path / "features.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT value FROM load").fetchall() == [(1,)]
    registry.commit(second.as_of, [second], "shop")
    assert registry.released_snapshots("load") == [first, second]
    assert registry.find(None).as_of == second.as_of


def test_a_correction_is_read_once_it_is_released(lake):
    registry = Registry(lake)
    first = append(lake, [1])
    registry.commit(first.as_of, [first], "shop")
    second = append(lake, [2], ordinal=1)

    assert registry.released_snapshots("load") == [first]
    registry.commit(first.as_of, [second], "shop")
    assert registry.released_snapshots("load") == [second]


def test_the_same_set_is_released_once(lake):
    """Rule 19."""
    registry = Registry(lake)
    first = append(lake, [1])

    made, is_new = registry.commit(first.as_of, [first], "shop")

    assert is_new
    assert registry.commit(first.as_of, [first], "shop") == (made, False)
    assert registry.releases() == [made]
    with pytest.raises(NoRelease, match="no release 'x'"):
        registry.find("x")


def test_the_release_made_last_is_the_newest_even_if_the_clock_stepped_back(lake):
    """Rule 13: two releases of one as_of at one moment would have no order."""
    registry = Registry(lake)
    first, second = append(lake, [1]), append(lake, [2], ordinal=1)
    with clock.frozen(datetime(2026, 3, 10, tzinfo=UTC)):
        registry.commit(first.as_of, [first], "shop")
    with clock.frozen(datetime(2020, 1, 1, tzinfo=UTC)):
        registry.commit(first.as_of, [second], "shop")

    assert registry.newest().snapshots == {"load": second.snapshot_id}
    assert registry.newest().released_at == datetime(2026, 3, 10, tzinfo=UTC) + timedelta(
        microseconds=1
    )


def test_a_features_database_that_cannot_be_written_leaves_the_one_before(lake, tmp_path):
    registry = Registry(lake)
    first = append(lake, [1])
    registry.commit(first.as_of, [first], "shop")
    folder = tmp_path / "features.duckdb"
    folder.mkdir()
    (folder / "in the way").touch()

    with pytest.raises(LakeError, match="could not be written"):
        write_features_database(folder, registry)

    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_home_belongs_to_one_project(lake):
    """Two projects in one home would take each other's releases for the newest."""
    registry = Registry(lake)
    first, second = append(lake, [1]), append(lake, [2], day=6)
    registry.commit(first.as_of, [first], "shop")

    with pytest.raises(LakeError, match="belongs to project shop, not depot"):
        registry.commit(second.as_of, [second], "depot")

    assert len(registry.releases()) == 1


@pytest.fixture
def corrected(lake):
    """Two days of which the first was corrected later: the snapshots and the releases in the order made."""
    registry = Registry(lake)
    first, second = append(lake, [1]), append(lake, [2], day=6)
    correction = append(lake, [3], ordinal=1)
    made = []
    for hour, member in enumerate([first, second, correction, first]):
        with clock.frozen(datetime(2026, 3, 10, hour, tzinfo=UTC)):
            made.append(registry.commit(member.as_of, [member], "shop")[0])
    return registry, [first, second, correction], made


def test_the_registry_reads_as_it_stood_at_a_moment(corrected):
    """Rule 22: what was released later changes nothing; a release counts from its own moment on."""
    registry, (first, second, correction), made = corrected

    def at(moment):
        return registry.released_snapshots("load", at=moment)

    assert at(made[0].released_at - timedelta(microseconds=1)) == []
    assert at(made[0].released_at) == [first]
    assert at(made[1].released_at) == [first, second]
    assert at(made[2].released_at) == [correction, second]
    assert at(made[3].released_at) == [first, second] == registry.released_snapshots("load")


def test_the_registry_reads_as_it_stood_when_a_release_was_made(corrected):
    """Rule 22: also after the same set was released once more."""
    registry, (first, second, correction), made = corrected

    def by(release):
        return registry.released_snapshots("load", release=release.release_id)

    assert made[3].release_id == made[0].release_id
    assert [by(release) for release in made] == [
        [first],
        [first, second],
        [correction, second],
        [first],
    ]
    with pytest.raises(NoRelease, match="no release 'x'"):
        registry.released_snapshots("load", release="x")
    with pytest.raises(UsageError, match="has no zone"):
        registry.released_snapshots("load", at=datetime(2026, 3, 10))  # noqa: DTZ001
    with pytest.raises(UsageError, match="a moment and a release"):
        registry.released_snapshots("load", at=made[0].released_at, release=made[0].release_id)
