"""A spine is checked before anything is built (rules 1, 15 and 16)."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featmill.contract.types import parse_type
from featmill.errors import SpineError
from featmill.training.spine import MOMENT, read_spine


@pytest.fixture
def connection():
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


def write(tmp_path, select: str):
    path = tmp_path / "spine.parquet"
    with duckdb.connect() as writer:
        writer.execute("SET TimeZone = 'UTC'")
        writer.execute(f"COPY ({select}) TO '{path}'")
    return path


@pytest.mark.parametrize(
    ("declared", "given", "agree"),
    [
        ("bigint", "1::TINYINT", True),
        ("integer", "1::UBIGINT", True),
        ("integer", "'1'", False),
        ("varchar", "1::INTEGER", False),
        ("varchar", "'1'", True),
        ("varchar", "1.0::DOUBLE", False),
        ("bigint", "1.0::DOUBLE", False),
        ("date", "DATE '2026-03-01'", True),
        ("date", "TIMESTAMP '2026-03-01'", False),
        ("timestamptz", "TIMESTAMPTZ '2026-03-01 00:00:00Z'", True),
        ("boolean", "true", True),
        ("boolean", "1", False),
    ],
)
def test_a_key_is_of_the_kind_that_the_contract_says(connection, tmp_path, declared, given, agree):
    """Rule 16: an error that names both, never a conversion in silence."""
    path = write(tmp_path, f"SELECT {given} AS key, TIMESTAMPTZ '2026-03-01 00:00:00Z' AS at")

    def read():
        return read_spine(connection, path, "at", {"key": parse_type(declared)})

    if agree:
        assert read().columns["at"] == "TIMESTAMP WITH TIME ZONE"
        return
    with pytest.raises(SpineError) as refused:
        read()
    (stated,) = connection.execute(f"SELECT typeof({given})").fetchall()[0]
    assert f"key key is {stated}, the contract says {parse_type(declared).sql}" in str(
        refused.value
    )


@pytest.mark.parametrize(
    ("given", "zone", "moment"),
    [
        ("TIMESTAMP '2026-03-29 01:30:00'", "UTC", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        (
            "TIMESTAMP '2026-03-29 01:30:00'",
            "Europe/Berlin",
            datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
        ),
        (
            "TIMESTAMP '2026-07-01 00:00:00.000001'",
            "Europe/Berlin",
            datetime(2026, 6, 30, 22, 0, 0, 1, tzinfo=UTC),
        ),
        ("DATE '2026-03-01'", "UTC", datetime(2026, 3, 1, tzinfo=UTC)),
        ("TIMESTAMP_NS '2026-03-01 00:00:00.000000001'", "UTC", datetime(2026, 3, 1, tzinfo=UTC)),
        (
            "TIMESTAMPTZ '2026-03-01 00:00:00+09'",
            "Europe/Berlin",
            datetime(2026, 2, 28, 15, tzinfo=UTC),
        ),
    ],
)
def test_a_moment_is_in_the_zone_that_is_said(connection, tmp_path, given, zone, moment):
    """Rule 1: a column that has its zone keeps it, whatever is said."""
    path = write(tmp_path, f"SELECT 'a' AS key, {given} AS \"the time\"")

    spine = read_spine(connection, path, "the time", {"key": parse_type("varchar")}, zone)

    assert connection.execute(f"SELECT {MOMENT} FROM ({spine.sql})").fetchall() == [(moment,)]


def test_every_column_with_nulls_is_named_and_counted(connection, tmp_path):
    """Rule 15."""
    path = write(
        tmp_path,
        "SELECT CASE WHEN range > 0 THEN 'a' END AS key, CASE WHEN range > 1 THEN now() END AS at FROM range(3)",
    )

    with pytest.raises(SpineError, match=r"NULLs in at in 2 rows, key in 1 rows \(rule 15\)"):
        read_spine(connection, path, "at", {"key": parse_type("varchar")})


@pytest.mark.parametrize("name", ["_featmill_row", "_featmill_moment", "_FeatMill_anything"])
def test_a_column_of_a_name_of_ours_is_refused(connection, tmp_path, name):
    """A join adds columns of such names: the spine's would be taken for them, or lost."""
    path = write(
        tmp_path, f"SELECT 'a' AS key, TIMESTAMPTZ '2026-03-01 00:00:00Z' AS at, 1 AS {name}"
    )

    with pytest.raises(SpineError, match=f"has a column {name}") as refused:
        read_spine(connection, path, "at", {"key": parse_type("varchar")})
    assert "_featmill_" in str(refused.value.hint)


def nanoseconds(tmp_path, *moments: int):
    """A spine whose time is in nanoseconds since 1970, in UTC, as polars and Parquet have it."""
    path = tmp_path / "spine.parquet"
    at = pa.array(moments, pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"key": ["a"] * len(moments), "at": at}), path)
    return path


def test_a_moment_in_nanoseconds_is_taken_where_it_is_one_in_microseconds(connection, tmp_path):
    """Rule 1: to the microsecond, from a time that has its zone."""
    path = nanoseconds(tmp_path, 1_772_323_200_000_001_000)

    spine = read_spine(connection, path, "at", {"key": parse_type("varchar")})

    assert connection.execute(f"SELECT {MOMENT} FROM ({spine.sql})").fetchall() == [
        (datetime(2026, 3, 1, 0, 0, 0, 1, tzinfo=UTC),)
    ]


def test_a_moment_between_two_microseconds_is_refused(connection, tmp_path):
    """Rules 1 and 4: cut to the microsecond, a window would end before an event that it covers."""
    path = nanoseconds(tmp_path, 1_772_323_200_000_000_001, 1_772_323_200_000_000_000, -1)

    with pytest.raises(SpineError, match=r"column at has parts of a microsecond in 2 rows"):
        read_spine(connection, path, "at", {"key": parse_type("varchar")})
