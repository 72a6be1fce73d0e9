"""What is altered of a source, and what is not; what differs between two builds."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import pytest

from featmill.leakage.alter import (
    _POSITION,
    Alteration,
    Mode,
    _other,
    alterable,
    write_altered,
)
from featmill.leakage.compare import Built, compare
from featmill.leakage.moments import default_moment, newest_loaded
from featmill.leakage.project import Model, SourceTable
from featmill.warehouse.identity import content_hash

AT = datetime(2026, 3, 5, tzinfo=UTC)
ROWS = [
    ("a", 1, True, "2026-03-04 23:59:59.999999", "2026-03-05 00:00:00"),
    ("b", 2, False, "2026-03-05 00:00:00", "2026-03-05 00:00:00.000001"),
    ("c", None, True, "2026-03-06 00:00:00", "2026-03-06 00:00:00"),
    ("d", 4, True, "2026-03-07 00:00:00", "2026-03-07 00:00:00"),
    ("e", 5, True, None, "2026-03-07 00:00:00"),
    ("f", 6, True, "2026-03-01 00:00:00", "2026-03-09 00:00:00"),
]


@pytest.fixture
def connection():
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


@pytest.fixture
def table(connection, tmp_path):
    connection.execute(
        "CREATE TABLE scans (kind VARCHAR, n INTEGER, ok BOOLEAN, event_at TIMESTAMP, loaded VARCHAR)"
    )
    connection.executemany("INSERT INTO scans VALUES (?, ?, ?, ?, ?)", ROWS)
    (tmp_path / "raw").mkdir()
    connection.execute(f"COPY scans TO '{tmp_path}/raw/scans.parquet'")
    source = SourceTable(
        "source.p.yard.scans",
        "yard.scans",
        "scans",
        "featmill_source('copies', 'scans')",
        "event_at",
        "try_cast(loaded as timestamptz)",
    )
    return alterable(connection, source, "copies", tmp_path / "raw")


def altered(connection, table, mode, alteration, folder):
    rows = write_altered(connection, table, table.is_after(mode, AT), alteration, folder)
    written = connection.execute(f"FROM '{folder}/scans.parquet'").fetchall()
    return rows, [(*row[:3], row[3] and str(row[3]), row[4]) for row in written]


def test_only_rows_after_the_moment_are_deleted(connection, table, tmp_path):
    """Rules 4 and 9: an event at the moment is after it; a row ingested at the cut-off is read."""
    event = altered(connection, table, Mode.EVENT, Alteration.DELETED, tmp_path)
    served = altered(connection, table, Mode.SERVED, Alteration.DELETED, tmp_path)

    assert (event[0], [row[0] for row in event[1]]) == (3, ["a", "e", "f"])
    assert (served[0], [row[0] for row in served[1]]) == (5, ["a"])


def test_what_is_after_the_moment_has_other_values_and_its_own_moments(connection, table, tmp_path):
    _, rows = altered(connection, table, Mode.EVENT, Alteration.ALTERED, tmp_path)

    assert [row[0] for row in rows] == ["a", "b~", "c", "d~", "e", "f"]
    assert [row[1] for row in rows] == [1, 11, None, 15, 5, 6]
    assert [row[2] for row in rows] == [True, True, False, False, True, True]
    assert [row[3:] for row in rows] == [row[3:] for row in ROWS]


def test_shuffled_rows_are_the_same_values_at_other_moments(connection, table, tmp_path):
    _, rows = altered(connection, table, Mode.SERVED, Alteration.SHUFFLED, tmp_path)
    _, again = altered(connection, table, Mode.SERVED, Alteration.SHUFFLED, tmp_path)

    assert rows == again
    assert rows[0] == ROWS[0]
    assert [row[3:] for row in rows] == [row[3:] for row in ROWS]
    assert sorted(map(str, (row[:3] for row in rows))) == sorted(str(row[:3]) for row in ROWS)
    assert [row[:3] for row in rows] != [row[:3] for row in ROWS]


def test_as_they_are_every_row_is_the_same(connection, table, tmp_path):
    _, rows = altered(connection, table, Mode.EVENT, Alteration.NONE, tmp_path)

    assert rows == ROWS


def test_a_csv_s_numbers_stay_numbers(connection, tmp_path):
    (tmp_path / "rides.csv").write_text("id,km,ended_at\nr1,1.50,2026-03-06\nr2,x,2026-03-06\n")
    relation = "featmill_source('copies', 'rides')"
    source = SourceTable("source.p.r.rides", "r.rides", "rides", relation, "ended_at", None)
    table = alterable(connection, source, "copies", tmp_path)
    assert table is not None

    write_altered(connection, table, table.is_after(Mode.EVENT, AT), Alteration.ALTERED, tmp_path)

    written = connection.execute(f"SELECT km FROM '{tmp_path}/rides.parquet'").fetchall()
    assert written == [("10",), ("x~",)]


@pytest.mark.parametrize(
    "relation", ['"db"."main"."scans"', "featmill_source('elsewhere', 'scans')", ""]
)
def test_what_dbt_does_not_read_from_the_folder_cannot_be_altered(connection, tmp_path, relation):
    source = SourceTable("source.p.s.scans", "s.scans", "scans", relation, "event_at", None)

    assert alterable(connection, source, "copies", tmp_path) is None


def test_the_default_moment_has_events_on_both_sides(connection, table):
    assert default_moment(connection, [table]) == datetime(2026, 3, 6, tzinfo=UTC)
    assert newest_loaded(connection, [table]) == datetime(2026, 3, 9, tzinfo=UTC)


def built(connection, name, rows):
    connection.execute(f"CREATE TABLE {name} (depot VARCHAR, dock INTEGER, v BIGINT, w VARCHAR)")
    connection.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?)", rows or [(None,) * 4])
    columns = ["depot", "dock", "v", "w"]
    meta = {"feature_table": {"join_keys": ["depot", "dock"]}}
    model = Model("model.p.feat_x", "feat_x", "p", "models/feat_x.sql", "x", (), "", meta)
    return Built(model, name, tuple(columns), *content_hash(connection, columns, name))


def test_equal_builds_have_no_finding(connection):
    base = built(connection, "base", [("N", 1, 5, "x"), ("N", 2, None, None)])
    other = built(connection, "other", [("N", 2, None, None), ("N", 1, 5, "x")])

    assert compare(connection, base, other, "altered") == []


def test_a_finding_has_the_column_the_rows_and_a_key(connection):
    base = built(connection, "base", [("N", 1, 5, "x"), ("N", 11, 6, "x"), ("N1", 1, None, "x")])
    other = built(connection, "other", [("N", 1, 5, "x"), ("N", 11, 7, "x"), ("N1", 1, 0, "x")])

    (found,) = compare(connection, base, other, "deleted")

    assert (found.model, found.column) == ("feat_x", "v")
    assert found.message == "another value in 2 rows, such as depot N, dock 11: deleted"


def test_an_entity_that_is_in_one_build_only_is_a_finding_of_the_table(connection):
    base = built(connection, "base", [("N", 1, 5, "x")])
    other = built(connection, "other", [("N", 1, 5, "x"), ("S", 7, 0, "y")])

    (found,) = compare(connection, base, other, "altered")

    assert found.column is None
    assert found.message == "not the same entities in 1 row, such as depot S, dock 7: altered"


@pytest.mark.parametrize(
    ("text", "later"),
    [
        ("2026-01-31T10:00:00Z", "2026-02-01 10:00:00Z"),
        ("2026-01-31 10:00:00.000001", "2026-02-01 10:00:00.000001"),
        ("2026-01-31", "2026-02-01 00:00:00"),
        ("2026-01-31 10:00:00+02:00", "2026-02-01 08:00:00Z"),
    ],
)
def test_a_text_that_is_a_moment_stays_one(text, later):
    """Staging would refuse a row whose time was made no time, and the alteration would reach no feature."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        sql = f"SELECT {_other('told', 'VARCHAR')} FROM (SELECT ? AS told, 2 AS {_POSITION})"
        assert connection.execute(sql, [text]).fetchall() == [(later,)]
