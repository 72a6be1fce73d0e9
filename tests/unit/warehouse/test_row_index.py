"""A row index is used for exactly what it was built of, and never where a byte of it changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featmill.errors import IndexUnusable, UsageError
from featmill.training import planner
from featmill.warehouse.row_index import HEADER, find_index, index_root, write_header
from featmill.warehouse.row_index_writer import IndexSource, build_index
from tests.unit.warehouse.snapshots import snapshot

ZONED = pa.timestamp("us", "UTC")
START = 1_772_323_200_000_000
DAY = 86_400_000_000


def write_rows(path, *, rows=200, step=DAY, **columns) -> str:
    """Ten keys with a row a step; the relation that reads them."""
    n = np.arange(rows)
    table = {
        "key": pa.array([f"k{i % 10}" for i in n]),
        "feature_at": pa.array(START + (n // 10) * step, ZONED),
        "value": pa.array(n, mask=n % 7 == 0),
        "word": pa.array([f"w{i}" for i in n]),
        "published_at": pa.array([START + 100 * DAY] * rows, ZONED),
        "snapshot_id": pa.array([f"s{i // 10:05}" for i in n]),
    }
    pq.write_table(pa.table(table | columns), path)
    return f"SELECT * FROM read_parquet('{path}')"


@pytest.fixture
def source(tmp_path) -> IndexSource:
    relation = write_rows(tmp_path / "rows.parquet")
    held = [replace(snapshot(), location=str(tmp_path / "table" / "v1"))]
    return IndexSource(held, relation, ("key",), "feature_at")


@pytest.fixture
def folder(source):
    """A sound index."""
    return build_index(source)


def join(source, *, engine="auto", features=("value", "word")) -> tuple[list, planner.Choice]:
    """What labels find, and how."""
    view = {
        "name": "load",
        "relation": f"({source.relation})",
        "snapshots": source.snapshots,
        "keys": list(source.keys),
        "event_time": "feature_at",
        "ttl_us": None,
        "features": [{"name": f, "ignore_nulls": False, "default_sql": "null"} for f in features],
    }
    spine = (
        f"SELECT 'k' || (i % 11) AS key, make_timestamptz({START} + i * {DAY // 3}) AS moment "
        "FROM range(100) t(i)"
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        plan = planner.plan(connection, planner.Join(spine, "moment", [view]), engine=engine)
        return plan.reader(64).read_all().to_pylist(), plan.explain()[0]


def test_a_sound_index_is_used(source, folder):
    wanted, _ = join(source, engine="asof")

    found, choice = join(source)

    assert (choice.engine, choice.index, choice.is_index_ignored) == ("indexed", "used", False)
    assert choice.rows == 200
    assert found == wanted
    assert folder.parent == index_root(source.snapshots)


def test_without_an_index_the_join_is_the_same(source):
    found, choice = join(source)

    assert (choice.index, choice.is_index_ignored) == ("none was built", False)
    assert choice.engine != "indexed"
    assert found == join(source, engine="asof")[0]


FILES = ("order", "key0.values", "key0.offsets", "column0.values", "column0.valid", "schema")
MORE = ("column1.values", "column1.offsets", HEADER)


@pytest.mark.parametrize("name", [*FILES, *MORE])
def test_a_changed_byte_is_found_and_the_index_ignored(source, folder, name):
    """Whatever the byte, the answer is the right one."""
    wanted, _ = join(source)
    path = folder / name
    whole = path.read_bytes()
    for position in {0, len(whole) // 2, len(whole) - 1}:
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)

        found, choice = join(source)

        if name != HEADER or json_differs(whole, changed):
            assert choice.is_index_ignored, position
            assert "broken" in choice.index
        assert found == wanted


def json_differs(before: bytes, after: bytearray) -> bool:
    """Whether a change of the header is more than one of its layout."""
    try:
        return json.loads(before) != json.loads(after)
    except ValueError:
        return True


@pytest.mark.parametrize("name", [*FILES, *MORE])
@pytest.mark.parametrize("left", [0.0, 0.5, None])
def test_a_file_that_is_cut_or_gone_is_found(source, folder, name, left):
    """A half-written index, or one whose disk was full."""
    wanted, _ = join(source)
    path = folder / name
    if left is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])

    found, choice = join(source)

    assert choice.engine != "indexed"
    assert found == wanted


def test_a_sorted_lie_is_found(source, folder):
    """Rows that are sorted, summed up and still not unique break the search."""
    index = find_index(source.snapshots, source.relation)
    order = np.array(index.order)
    order[1] = order[0]
    order.tofile(folder / "order")
    lied = {**index.header.sums, "order": int(order.view(np.uint64).sum())}
    write_header(folder, replace(index.header, sums=lied))

    with pytest.raises(IndexUnusable, match="its rows are not sorted"):
        find_index(source.snapshots, source.relation)


def test_an_index_of_other_snapshots_is_stale(source, folder):
    newer = replace(source.snapshots[0], snapshot_id="20260306T000000Z-0000-bb")
    later = replace(source, snapshots=[*source.snapshots, newer])

    _, choice = join(later)

    assert choice.is_index_ignored
    assert choice.index.startswith("stale")


def test_an_index_of_files_that_were_rewritten_is_stale(source, folder, tmp_path):
    """Erasure keeps the snapshots' ids and rewrites their files."""
    moved = replace(source, relation=write_rows(tmp_path / "erased.parquet", rows=100))

    found, choice = join(moved)

    assert choice.index.startswith("stale")
    assert found == join(moved, engine="asof")[0]


def test_a_foreign_folder_under_the_right_name_is_no_index(source, folder, tmp_path):
    other = replace(source, relation=write_rows(tmp_path / "other.parquet", rows=50))
    foreign = build_index(other)
    shutil.copytree(foreign, folder)

    _, choice = join(source)

    assert choice.index.startswith("foreign")
    assert choice.is_index_ignored


def test_building_anew_replaces_what_is_broken_and_drops_what_is_old(source, folder, tmp_path):
    (folder / "order").write_bytes(b"")
    (folder.parent / ".building-999999999-dead").mkdir()

    assert build_index(source) == folder
    assert join(source)[1].engine == "indexed"
    other = replace(source, relation=write_rows(tmp_path / "other.parquet", rows=50))
    newest = build_index(other)

    assert list(folder.parent.iterdir()) == [newest]


def test_a_feature_that_the_index_lacks_is_joined(source, folder, tmp_path):
    """Types that no index holds, structs say, are left out of it; `auto` joins the view by its rows then."""
    with pytest.raises(UsageError, match="engine indexed cannot join load: it has no column other"):
        join(source, engine="indexed", features=("other",))


def test_times_too_many_for_64_bits_are_ranked(source, tmp_path):
    """A key's span of 200 thousand years leaves no room for keys beside it: ranks of the times do."""
    n = np.arange(200_000)
    moments = pa.array(START + (n // 2) * DAY * 365, ZONED)
    far = {
        "key": pa.array(n % 50_000, pa.int64()),
        "feature_at": moments,
        "value": pa.array(n),
        "word": pa.array(n.astype(str)),
        "published_at": moments,
        "snapshot_id": pa.array([f"s{i // 2:06}" for i in n]),
    }
    pq.write_table(pa.table(far), tmp_path / "far.parquet")
    relation = f"SELECT * FROM read_parquet('{tmp_path / 'far.parquet'}')"
    build_index(replace(source, relation=relation))
    index = find_index(source.snapshots, relation)

    assert index.header.moments == 100_000
    spine = (
        f"SELECT i AS key, make_timestamptz({START} + i * {DAY} * if(i % 2 = 0, 3651, 100)) AS moment "
        "FROM range(5000) t(i)"
    )
    view = {
        "name": "load",
        "relation": f"({relation})",
        "snapshots": source.snapshots,
        "keys": ["key"],
        "event_time": "feature_at",
        "ttl_us": DAY * 365 * 10_000,
        "features": [{"name": "value", "ignore_nulls": False, "default_sql": "null"}],
    }
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        wanted = planner.Join(spine, "moment", [view], status=True)
        found = [
            planner.plan(connection, wanted, engine=engine).reader(512).read_all()
            for engine in ("indexed", "asof")
        ]
    assert found[0].equals(found[1])
    assert {"ok", "expired", "missing"} == set(found[0].column("load__status").to_pylist())


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("key", pa.array([1.5] * 200), "key key is DOUBLE"),
        ("feature_at", pa.array([datetime(2026, 3, 1, tzinfo=UTC).date()] * 200), "is DATE"),
    ],
)
def test_what_cannot_be_numbered_is_refused(source, tmp_path, column, values, told):
    relation = write_rows(tmp_path / "odd.parquet", **{column: values})

    with pytest.raises(IndexUnusable, match=told):
        build_index(replace(source, relation=relation))

    assert list(index_root(source.snapshots).iterdir()) == []


def test_ties_that_the_gate_would_have_refused_make_no_index(source, tmp_path):
    """Two rows of one key and time in one snapshot: nothing says which is right, so the index is not used."""
    twice = pa.array([START] * 200, ZONED)
    relation = write_rows(
        tmp_path / "twice.parquet", feature_at=twice, snapshot_id=pa.array(["s"] * 200)
    )
    build_index(replace(source, relation=relation))

    with pytest.raises(IndexUnusable, match="not sorted"):
        find_index(source.snapshots, relation)
