"""What two snapshots must share to be the same (rules 9 and 19)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featmill.warehouse.columns import published_expression
from featmill.warehouse.identity import (
    SnapshotIdentity,
    SourceRelation,
    content_hash,
    release_id,
    source_version,
)

VALUES = st.one_of(st.none(), st.sampled_from(["", "a", ",", '"', "null", "a,b", "b"]))
ROWS = st.lists(st.tuples(VALUES, VALUES), max_size=6)


def hashed(rows) -> tuple[int, str]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (x VARCHAR, y VARCHAR)")
        if rows:
            connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        return content_hash(connection, ["x", "y"], "t")


@given(ROWS, ROWS)
def test_a_content_hash_is_equal_for_equal_bags_of_rows_only(one, other):
    """Rule 9: whatever the order; NULL is not '', and nothing runs together or cancels out."""
    same = sorted(map(repr, one)) == sorted(map(repr, other))

    assert (hashed(one) == hashed(other)) is same


@given(ROWS.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_a_content_hash_does_not_depend_on_the_order(pair):
    assert hashed(pair[0]) == hashed(pair[1])


def test_a_source_counts_up_to_its_cut_off():
    """Rule 9: the row at the cut-off itself is read; one without a moment never is."""
    known = ["2026-03-01", "2026-03-02", "2026-03-02 00:00:00.000001", None, "soon"]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (x VARCHAR)")
        connection.executemany("INSERT INTO t VALUES (?)", [[text] for text in known])
        cut_off = datetime(2026, 3, 2, tzinfo=UTC)

        version = source_version(connection, SourceRelation("yard.scans", "t", "x"), cut_off)
        reference = source_version(connection, SourceRelation("yard.docks", "t", None), cut_off)

    assert (version.rows, version.newest) == (2, cut_off)
    assert (reference.rows, reference.newest) == (5, None)


def test_ids_sort_by_as_of_then_by_correction():
    """Rule 13: of two corrections the later one has the higher id."""
    identity = SnapshotIdentity(
        as_of=datetime(2026, 3, 4, tzinfo=UTC),
        cut_off=datetime(2026, 3, 4, tzinfo=UTC),
        fingerprint="f",
        sources=(),
        content_hash="c",
    )
    ids = [
        replace(identity, as_of=datetime(2026, 3, day, tzinfo=UTC)).snapshot_id(ordinal)
        for day in (4, 5, 11)
        for ordinal in (0, 1, 2, 10)
    ]

    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_a_release_is_its_set_of_snapshots():
    as_of = datetime(2026, 3, 4, tzinfo=UTC)

    assert release_id(as_of, {"a": "1", "b": "2"}) == release_id(as_of, {"b": "2", "a": "1"})
    assert release_id(as_of, {"a": "1", "b": "2"}) != release_id(as_of, {"a": "2", "b": "1"})


@pytest.mark.parametrize(
    ("kind", "value", "published"),
    [
        ("UTINYINT", "255", 255),
        ("USMALLINT", "65535", 65535),
        ("UINTEGER", "4294967295", 4294967295),
        ("UUID", "'7f1c2b1e-0000-4000-8000-000000000000'", "7f1c2b1e-0000-4000-8000-000000000000"),
        ("ENUM ('a', 'b')", "'b'", "b"),
        ("TIMESTAMP", "'2026-03-01 00:00:00.000001'", datetime(2026, 3, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ("TIMESTAMP_S", "'2026-03-01'", datetime(2026, 3, 1, tzinfo=UTC)),
        ("TIMESTAMPTZ", "'2026-03-01 09:00:00+09'", datetime(2026, 3, 1, tzinfo=UTC)),
        ("INTEGER[2]", "[1, 2]", [1, 2]),
        ("UINTEGER[2]", "[1, 4294967295]", [1, 4294967295]),
        ("VARCHAR", "'x'", "x"),
        ("DECIMAL(18, 3)", "1.250", 1.25),
    ],
)
def test_a_type_that_delta_lacks_is_published_without_loss(tmp_path, kind, value, published):
    """Rule 1 for moments; written to a real Delta table and read back."""
    from deltalake import DeltaTable, write_deltalake

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f'CREATE TABLE t AS SELECT {value}::{kind} AS "a b"')
        described = connection.execute("DESCRIBE t").fetchall()[0][1]
        expression = published_expression("a b", described)
        write_deltalake(
            str(tmp_path), connection.sql(f"SELECT {expression} FROM t").to_arrow_table()
        )

    (found,) = DeltaTable(str(tmp_path)).to_pyarrow_table().column("a b").to_pylist()
    assert found == published
