"""Snapshots stored as changes against snapshots stored whole: size, CPU to publish, and the same rows read back.

    python -m benchmarks.change_log [--size s|m|l] [--rows 60000 --snapshots 12 --churn 0.05]

Each storage publishes the same snapshots through `featmill.warehouse.publisher.publish` out of one database file, as a
build does, in turns so that both meet the same machine. Of each snapshot a share of the entities is restated, a few
come and a few go. A publish is its identity (hashing the candidate), comparing, sorting, encoding, committing and
reading back; what a full one costs without its hash stands beside it. At the end every snapshot is read from both and
its content compared.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Measured, Outcome, check_goals, peak_mib
from featmill.warehouse.changes import Storage
from featmill.warehouse.identity import content_hash
from featmill.warehouse.lake import Lake, relation_sql
from featmill.warehouse.model import Snapshot
from featmill.warehouse.publisher import PublishOrder, publish

START = datetime(2026, 1, 1, tzinfo=UTC)
STORAGES: tuple[Storage, ...] = ("full", "changes")
#: Size -> (rows, snapshots).
SIZES = {"s": (20_000, 8), "m": (60_000, 30), "l": (200_000, 30)}


@dataclass(frozen=True, slots=True)
class Stored(Measured):
    """What publishing all snapshots cost, and what they take on disk."""

    mb: float = 0.0


CANDIDATE = """
CREATE OR REPLACE TABLE candidate AS
SELECT user_id, TIMESTAMP '{as_of}' AS feature_at, {columns}
FROM (SELECT 'user-' || lpad(range::VARCHAR, 9, '0') AS user_id, hash(range, CASE
    WHEN hash(range, {day}) % 10000 < {share} THEN {day} ELSE 0 END) AS seed
    FROM range({first}, {last}))
"""
COLUMNS = [f"CAST((seed >> {4 * i}) % 1000 AS BIGINT) AS count_{i}" for i in range(8)]
COLUMNS += [f"((seed >> {5 * i}) % 100000) / 7 AS rate_{i}" for i in range(4)]
COLUMNS += [
    f"CAST((seed >> {6 * i}) % 1000000 AS DECIMAL(12, 2)) / 100 AS sum_{i}" for i in range(2)
]
COLUMNS += ["'category ' || seed % 40 AS category", "seed % 2 = 0 AS is_active"]


def main() -> int:
    """Publish, compare and print; 1 where something was read back wrong or a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    parser.add_argument("--rows", type=int, help="instead of the size's")
    parser.add_argument("--snapshots", type=int, help="instead of the size's")
    parser.add_argument("--churn", type=float, default=0.05)
    given = parser.parse_args()
    rows, snapshots = SIZES[given.size]
    is_size = (given.rows, given.snapshots, given.churn) == (None, None, 0.05)
    with tempfile.TemporaryDirectory(prefix="featmill-bench-") as folder:
        outcomes = run(Path(folder), given.rows or rows, given.snapshots or snapshots, given.churn)
    reached = check_goals("change_log", given.size if is_size else "other", outcomes)
    return 0 if reached and all(one.verdict == "ok" for one in outcomes.values()) else 1


def run(work: Path, rows: int, snapshots: int, churn: float) -> dict[str, Outcome]:
    """Measure both storages and say what came out."""
    lakes = {storage: Lake(work / storage) for storage in STORAGES}
    made: dict[Storage, list[Snapshot]] = {storage: [] for storage in STORAGES}
    cpu = dict.fromkeys(STORAGES, 0.0)
    wall = dict.fromkeys(STORAGES, 0.0)
    hashed = 0.0
    with duckdb.connect(work / "build.duckdb", config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        warm(connection, Lake(work / "warm"))
        for day in range(snapshots):
            restate(connection, rows, day, churn)
            hashed += hashing(connection)
            for storage in STORAGES[:: 1 if day % 2 else -1]:
                clocks = time.process_time(), time.perf_counter()
                snapshot, _ = publish(connection, lakes[storage], order(day, storage))
                cpu[storage] += time.process_time() - clocks[0]
                wall[storage] += time.perf_counter() - clocks[1]
                made[storage].append(snapshot)
        reads = {storage: read(connection, made[storage]) for storage in STORAGES}
    size = {storage: stored(lakes[storage]) / 1e6 for storage in STORAGES}
    show(
        f"{snapshots} snapshots of {rows:,} rows, {churn:.0%} churn",
        [
            ("MB stored", size),
            ("CPU s published", cpu),
            ("wall s published", wall),
            ("CPU s read, all", {s: reads[s][1] for s in STORAGES}),
        ],
    )
    print(
        f"of it hashing all rows: {hashed:.2f} CPU s, full without it: {cpu['full'] - hashed:.2f}"
    )
    same = reads["full"][0] == reads["changes"][0] and len(reads["full"][0]) == snapshots
    print(f"read back: {snapshots} snapshots, {'identical' if same else 'WRONG'}")
    verdict = "ok" if same else "WRONG"
    return {
        s: Outcome(s, Stored(wall[s], cpu[s], peak_mib(), None, size[s]), verdict) for s in STORAGES
    }


def warm(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Import and compile what the first publish would pay for."""
    for day in range(2):
        restate(connection, 100, day, 0.1)
        publish(connection, lake, order(day, "changes"))


def restate(connection: duckdb.DuckDBPyConnection, rows: int, day: int, churn: float) -> None:
    """Make the candidate of a day: one entity in a thousand has come since the day before, and one has gone.

    What a day changes falls back the day after, so half of the churn is one and half the other.
    """
    moved = day * max(rows // 1000, 1)
    text = CANDIDATE.format(
        as_of=f"{START + timedelta(days=day):%Y-%m-%d}", columns=", ".join(COLUMNS), day=day,
        share=round(churn / 2 * 10_000), first=moved, last=moved + rows,
    )  # fmt: skip
    connection.execute(text)


def order(day: int, storage: Storage) -> PublishOrder:
    """The order to publish the candidate."""
    as_of = START + timedelta(days=day)
    return PublishOrder(
        table="bench", sql="SELECT * FROM candidate", as_of=as_of, cut_off=as_of, join_keys=("user_id",),
        tenant="default", version="1", fingerprint="f" * 64, sources=(), event_time="feature_at", storage=storage,
    )  # fmt: skip


def stored(lake: Lake) -> int:
    """The bytes of all files, logs included."""
    return sum(path.stat().st_size for path in lake.root.rglob("*") if path.is_file())


def hashing(connection: duckdb.DuckDBPyConnection) -> float:
    """The CPU seconds that a publish spends on the candidate's content hash."""
    before = time.process_time()
    columns = [row[0] for row in connection.execute("DESCRIBE candidate").fetchall()]
    content_hash(connection, columns, "candidate")
    return time.process_time() - before


def read(
    connection: duckdb.DuckDBPyConnection, snapshots: list[Snapshot]
) -> tuple[list[tuple[int, str]], float]:
    """The content of each snapshot out of one read of all of them, and the CPU of that read alone."""
    relation = f"({relation_sql(snapshots)})"
    names = [row[0] for row in connection.execute(f"DESCRIBE {relation[1:-1]}").fetchall()]
    columns = [name for name in names if name not in ("snapshot_id", "published_at")]
    before = time.process_time()
    connection.execute(f"CREATE OR REPLACE TABLE found AS SELECT * FROM {relation}")
    spent = time.process_time() - before
    contents = []
    for day in range(len(snapshots)):
        of_day = (
            f"(SELECT * FROM found WHERE snapshot_id LIKE '{START + timedelta(days=day):%Y%m%d}T%')"
        )
        contents.append(content_hash(connection, columns, of_day))
    connection.execute("DROP TABLE found")
    return contents, spent


def show(title: str, lines: list[tuple[str, dict[Storage, float]]]) -> None:
    """Print the figures of both storages, and their ratio."""
    table = Table(title=title, title_justify="left")
    for column in ("", "full", "changes", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    for name, found in lines:
        ratio = found["changes"] / found["full"]
        table.add_row(name, f"{found['full']:.2f}", f"{found['changes']:.2f}", f"{ratio:.3f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
