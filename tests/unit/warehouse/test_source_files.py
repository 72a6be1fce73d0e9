"""Sources as files: three formats, any folder, and an error that says where it looked."""

from __future__ import annotations

import gzip

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from featmill.errors import SourceError
from featmill.warehouse.source_files import file_state, source_sql

ROWS = pa.table({"code": ["7", "8"], "n": pa.array([1, 2], pa.int32())})


def read(folder, name="scans"):
    with duckdb.connect() as connection:
        return connection.execute(
            f"SELECT code, n::INTEGER FROM ({source_sql(str(folder), name)}) ORDER BY n"
        ).fetchall()


@pytest.fixture(params=["sources", "it's a folder"])
def folder(request, tmp_path):
    """Any name will do."""
    made = tmp_path / request.param
    made.mkdir()
    return made


def test_each_format_is_read(folder):
    pq.write_table(ROWS, folder / "a.parquet")
    (folder / "b.csv").write_text("code,n\nx7,1\nx8,2\n")
    with gzip.open(folder / "c.csv.gz", "wt") as opened:
        opened.write("code,n\nx7,1\nx8,2\n")
    write_deltalake(str(folder / "d"), ROWS)
    (folder / "e" / "2026").mkdir(parents=True)
    pq.write_table(ROWS.slice(0, 1), folder / "e" / "one.parquet")
    pq.write_table(ROWS.slice(1, 1), folder / "e" / "2026" / "two.parquet")
    (folder / "f").mkdir()
    (folder / "f" / "one.csv").write_text("code,n\nx7,1\nx8,2\n")

    for name in "ade":
        assert read(folder, name) == [("7", 1), ("8", 2)], name
    for name in "bcf":
        assert read(folder, name) == [("x7", 1), ("x8", 2)], name


def test_a_delta_table_is_read_at_its_newest_version(folder):
    write_deltalake(str(folder / "scans"), ROWS)
    write_deltalake(str(folder / "scans"), ROWS.slice(1, 1), mode="overwrite")

    assert read(folder) == [("8", 2)]


def test_a_partition_column_keeps_its_type(folder):
    """Its values stand in paths, where '7' looks like a number (rule 16)."""
    write_deltalake(str(folder / "scans"), ROWS, partition_by=["code"])

    assert read(folder) == [("7", 1), ("8", 2)]


@pytest.mark.parametrize("partition_by", [None, ["code"]])
def test_an_emptied_delta_table_is_a_table_without_rows(folder, partition_by):
    write_deltalake(str(folder / "scans"), ROWS, partition_by=partition_by)
    write_deltalake(
        str(folder / "scans"), ROWS.slice(0, 0), mode="overwrite", partition_by=partition_by
    )

    assert read(folder) == []


def test_no_file_at_all_names_every_place_looked_at(folder):
    (folder / "scans").mkdir()

    with pytest.raises(SourceError, match="source table 'scans' has no file") as missing:
        source_sql(str(folder), "scans")

    for name in ("scans.parquet", "scans.csv", "scans.csv.gz"):
        assert str(folder / name) in missing.value.message


def test_the_state_of_files_changes_with_them(folder):
    escaped = str(folder).replace("'", "''")
    relation = f"featmill_source('{escaped}', 'scans')"
    pq.write_table(ROWS, folder / "scans.parquet")
    before = file_state(relation)

    pq.write_table(ROWS.slice(0, 1), folder / "scans.parquet")

    assert before is not None
    assert file_state(relation) != before
    assert file_state('"build"."main"."scans"') is None
