"""The base kept in the build database: compared with it, a candidate comes to what it comes to without."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from featmill.governance.erasure import erase
from featmill.warehouse import changes, comparison
from featmill.warehouse.kept_candidates import kept_relation
from featmill.warehouse.lake import Lake, relation_sql
from featmill.warehouse.publisher import PublishOrder, publish

START = datetime(2026, 3, 1, tzinfo=UTC)


class Depot:
    """One table, published day by day out of one build database."""

    def __init__(self, root: Path) -> None:
        self.lake = Lake(root / "lake")
        self.connection = duckdb.connect(root / "build.duckdb", config={"threads": 1})
        self.connection.execute("SET TimeZone = 'UTC'")

    @property
    def copy(self) -> str:
        return kept_relation("load", self.lake.location("load"))

    def put(self, day: int, storage: changes.Storage = "changes", **amounts: Any):
        """Ten docks, valid from the day; `n3=2.0` gives one another amount, `n3=None` leaves it out."""
        rows = [(n, amounts.get(f"n{n}", 1.0)) for n in range(10)]
        values = ", ".join(f"({n}, {amount}::DOUBLE)" for n, amount in rows if amount is not None)
        as_of = START + timedelta(days=day)
        self.connection.execute(
            "CREATE OR REPLACE TABLE candidate AS SELECT number, amount, "
            f"TIMESTAMP '{as_of:%F}' AS valid_at FROM (VALUES {values}) AS t(number, amount)"
        )
        order = PublishOrder(
            table="load", sql="SELECT * FROM candidate", as_of=as_of, cut_off=as_of, join_keys=("number",),
            tenant="default", version="1", fingerprint="f" * 64, sources=(), event_time="valid_at", storage=storage,
        )  # fmt: skip
        return publish(self.connection, self.lake, order)[0]

    def read(self, snapshot) -> list[tuple]:
        sql = f"SELECT number, amount, valid_at::VARCHAR FROM ({relation_sql([snapshot])})"
        return self.connection.execute(f"{sql} ORDER BY number").fetchall()

    def is_copied(self) -> bool:
        found = self.connection.execute(
            "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'featmill_published'"
        )
        return found.fetchall() == [(1,)]


@pytest.fixture
def depot(tmp_path) -> Depot:
    return Depot(tmp_path)


@pytest.fixture
def lake_reads(monkeypatch) -> list[str]:
    """The snapshots whose base was read from the lake."""
    read: list[str] = []
    compare = comparison.compare_with_lake

    def watched(cursor, candidate, base, wanted):
        read.append(base.snapshot_id)
        return compare(cursor, candidate, base, wanted)

    monkeypatch.setattr(changes, "compare_with_lake", watched)
    return read


DAYS: list[dict[str, float | None]] = [
    {},
    {"n3": 2.0},
    {"n3": 2.0, "n4": None},
    {"n5": -0.0},
    {"n5": 0.0},
    {"n1": float("nan")},
]


def test_a_kept_base_is_not_read_back_and_gives_the_same_identity(tmp_path, lake_reads):
    """Rules 9 and 19: rows that are equal count as they did, and the sum is that of all rows."""
    for folder in ("kept", "full"):
        (tmp_path / folder).mkdir()
    kept, full = Depot(tmp_path / "kept"), Depot(tmp_path / "full")
    days: list[dict[str, Any]] = [
        {k: f"'{v}'" if v is not None else None for k, v in of.items()} for of in DAYS
    ]

    made = [kept.put(day, **of) for day, of in enumerate(days)]
    whole = [full.put(day, "full", **of) for day, of in enumerate(days)]

    assert lake_reads == []
    assert [s.change and s.change.rows for s in made] == [None, 1, 1, 3, 1, 2]
    assert [s.snapshot_id for s in made] == [s.snapshot_id for s in whole]
    assert [list(map(str, kept.read(s))) for s in made] == [
        list(map(str, full.read(s))) for s in whole
    ]


@pytest.mark.parametrize(
    "lost",
    [
        "DROP TABLE {copy}",
        "COMMENT ON TABLE {copy} IS NULL",
        "DROP SCHEMA featmill_published CASCADE",
    ],
)
def test_without_the_copy_the_base_is_read_from_the_lake(depot, lake_reads, lost):
    first = depot.put(0)
    depot.connection.execute(lost.format(copy=depot.copy))

    second = depot.put(1, n3=2.0)
    third = depot.put(2, n3=2.0)

    assert lake_reads == [first.snapshot_id]
    assert (second.change.rows, third.change.rows) == (1, 0)
    assert [row[1] for row in depot.read(third)] == [1.0] * 3 + [2.0] + [1.0] * 6


def test_a_correction_of_another_moment_is_compared_with_its_own_base(depot, lake_reads):
    """Rule 9: the copy is of the newest publish, which is not what an older as_of stands on."""
    made = [depot.put(day, n3=float(day)) for day in range(3)]
    correction = depot.put(1, n4=7.0)

    assert lake_reads == [made[1].snapshot_id]
    assert correction.change.base == made[1].snapshot_id
    assert [row[1] for row in depot.read(correction)] == [1.0] * 4 + [7.0] + [1.0] * 5


def test_a_copy_that_was_cut_short_is_not_taken(depot, lake_reads):
    """Killed between taking rows out and vouching for them."""
    depot.put(0)
    second = depot.put(1, n3=2.0)
    depot.connection.execute(f"COMMENT ON TABLE {depot.copy} IS NULL")
    depot.connection.execute(f"DELETE FROM {depot.copy} WHERE number > 4")

    third = depot.put(2, n3=3.0)

    assert lake_reads == [second.snapshot_id]
    assert (third.change.rows, third.vanished.entities, len(depot.read(third))) == (1, 0, 10)


def test_a_copy_that_lost_rows_is_noticed(depot, lake_reads):
    """What is joined is counted: as many rows as the base has must be found or gone."""
    first = depot.put(0)
    depot.connection.execute(f"DELETE FROM {depot.copy} WHERE number = 9")
    second = depot.put(1, n3=2.0)
    third = depot.put(2, n3=2.0)

    assert lake_reads == [first.snapshot_id]
    assert [len(depot.read(s)) for s in (second, third)] == [10, 10]


def test_nothing_is_kept_of_a_table_that_is_stored_whole(depot):
    depot.put(0)
    assert depot.is_copied()

    depot.put(1, "full")
    assert not depot.is_copied()

    depot.put(2, "auto")
    assert not depot.is_copied()


def test_an_erased_entity_is_gone_from_the_chain_and_the_next_changes_stand_on_what_is_left(
    depot, lake_reads
):
    """Rule 9: rows and tombstones; the others read as before; the copy of before the erasure is not compared with."""
    made = [
        depot.put(0),
        depot.put(1, n3=2.0, n4=None),
        depot.put(2, n3=None),
        depot.put(3, n7=5.0),
    ]
    before = [depot.read(s) for s in made]

    erased = erase(depot.lake, "load", pa.table({"number": pa.array([3], pa.int32())}))
    made = [depot.lake.snapshot("load", s.snapshot_id) for s in made]

    assert sum(erased.rows.values()) > 0
    assert [depot.read(s) for s in made] == [[r for r in of if r[0] != 3] for of in before]
    files = str(depot.lake.location("load") / "snapshot_id=*" / "*.parquet")
    held = f"SELECT count(*) FROM read_parquet('{files}') WHERE number = 3"
    assert depot.connection.execute(held).fetchall() == [(0,)]
    fifth = depot.put(4, n7=5.0)
    assert lake_reads == [made[-1].snapshot_id]
    assert len(depot.read(fifth)) == 10
    assert [row for row in depot.read(fifth) if row[0] == 3] == [(3, 1.0, "2026-03-05 00:00:00+00")]
