"""What one more day of a feature table costs: from tiles, and from all its events.

    python -m benchmarks.tiles --size l

For 1, 5 and 10 events per entity and tile of a day it measures both, each in a process of its own: of a table of
counts, sums, means, deviations, extremes and last values over four windows, and of one of lists (distinct values, the
most frequent, the last three), which are not tiled. The rows of both are compared; WRONG where they differ.

The SQL is what dbt runs, rendered without it. The tiles' time includes the check that nothing before the bookmark
changed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import duckdb

from benchmarks.harness import (
    Measured,
    Outcome,
    check_goals,
    judged,
    measured,
    report,
    run_rounds,
    show,
)
from tests.integration.windows.rendered import macros

MODULE = "benchmarks.tiles"
SIZES = {"s": 200_000, "m": 1_000_000, "l": 4_000_000}
ROUNDS = {"s": 1, "m": 2, "l": 3}
WAYS = ("full", "tiles")
PER_TILE = (1, 5, 10)
#: What one run may take.
SECONDS = 300.0
KEPT = "kept.duckdb"
DAYS = 91
YESTERDAY, TODAY = "2026-04-01 00:00:00", "2026-04-02 00:00:00"
NAMES = {"event_at": "event_at", "ingested_at": "ingested_at", "event_id": "event_id"}
WINDOWS = ("1d", "7d", "30d", "90d")
NUMBERS: dict[str, tuple[str, dict[str, Any]]] = {
    "n": ("bigint", {"aggregate": "count"}),
    "spent": ("decimal(18, 2)", {"aggregate": "sum", "value": "amount"}),
    "mean": ("double", {"aggregate": "mean", "value": "amount"}),
    "most": ("decimal(12, 2)", {"aggregate": "max", "value": "amount"}),
    "std": ("double", {"aggregate": "std", "value": "amount"}),
    "last": ("decimal(12, 2)", {"aggregate": "last", "value": "amount"}),
}
LISTS: dict[str, tuple[str, dict[str, Any]]] = {
    "products": ("bigint", {"aggregate": "count_distinct", "value": "product_id"}),
    "favourite": ("integer", {"aggregate": "top", "value": "product_id"}),
    "last_three": ("integer[]", {"aggregate": "last_n", "n": 3, "value": "product_id"}),
}
TABLES = {
    "numbers": {
        f"{name}_{window}": (kind, {**feature, "window": window})
        for name, (kind, feature) in NUMBERS.items()
        for window in WINDOWS
    },
    "lists": {
        f"{name}_30d": (kind, {**feature, "window": "30d"})
        for name, (kind, feature) in LISTS.items()
    },
}


class Table:
    """One feature table's SQL over the relation `events`."""

    def __init__(self, name: str, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        columns = {
            column: {"name": column, "data_type": kind, "config": {"meta": {"feature": feature}}}
            for column, (kind, feature) in TABLES[name].items()
        }
        table = {"join_keys": ["user_id"]}
        config = SimpleNamespace(event_time="feature_at", meta={"feature_table": table})
        node = SimpleNamespace(columns=columns, config=config)
        self.macros = macros(
            _feature_node=lambda: node,
            as_of=lambda: "timestamp '@moment'",
            cut_off=lambda: "timestamp '@moment'",
            run_query=lambda sql: SimpleNamespace(rows=connection.execute(sql).fetchall()),
        )
        features = self.macros._declared_windows(node)
        self.plan = self.macros._tile_plan(table, features, **NAMES) | {"events": "events"}
        self.tiles_sql = self.macros._tiles_sql(self.plan, "events", "timestamp '@moment'")
        self.full_sql = self.macros.windows("events", **NAMES)
        self.tiled_sql = self.macros._windows_of_tiles(
            node, "tiles", "events", None, self.plan, features
        )

    def tile(self, moment: str) -> None:
        """All tiles, from nothing."""
        self._create("tiles", self.tiles_sql, moment)

    def full(self) -> None:
        """Today's rows from all events."""
        self._create("answer", self.full_sql, TODAY)

    def tiles(self) -> None:
        """Today's rows from yesterday's tiles and what came since."""
        sql, now = self.tiles_sql.replace("@moment", TODAY), f"timestamp '{TODAY}'"
        bookmark = self.macros._tiles_bookmark("tiles", sql, self.plan, now)
        touched = self.macros._touched_tiles(self.plan, bookmark, now)
        self.connection.execute(self.macros._retile_sql("tiles", sql, self.plan, touched))
        self._create("answer", self.tiled_sql, TODAY)

    def _create(self, name: str, sql: str, moment: str) -> None:
        self.connection.execute(
            f"CREATE OR REPLACE TABLE {name} AS {sql.replace('@moment', moment)}"
        )


def prepare(path: Path, table: str, events: int, per_tile: int) -> None:
    """Events of 91 days in the order of time, and the tiles as of yesterday."""
    users = events // (per_tile * DAYS)
    step = DAYS * 86_400_000_000 // events
    with _open(path) as connection:
        connection.execute(
            f"CREATE TABLE events AS SELECT 'event-' || i AS event_id, i * 7919 % {users} AS user_id, "
            f"(hash(i) % 1000)::INTEGER AS product_id, (hash(i + 3) % 50000 / 100)::DECIMAL(12, 2) AS amount, "
            f"TIMESTAMP '2026-01-01' + to_microseconds(i * {step}) AS event_at, "
            f"event_at + INTERVAL 30 SECOND AS ingested_at FROM range({events}) AS of(i)"
        )
        Table(table, connection).tile(YESTERDAY)


def measure(path: Path, table: str, way: str) -> Measured:
    """What one way costs, and a checksum of its rows."""
    with _open(path) as connection:
        made = Table(table, connection)
        result, _ = measured(getattr(made, way))
        found = connection.execute("SELECT count(*), bit_xor(md5_number(a::VARCHAR)) FROM answer a")
        return replace(result, checksum=str(found.fetchall()[0]))


def compare(table: str, events: int, per_tile: int, rounds: int) -> dict[str, Outcome]:
    """Measure and print one case."""
    case = f"{table}, {per_tile} per tile"
    with TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(work / KEPT, table, events, per_tile)
        contenders = [f"{case}: {way}" for way in WAYS]
        found = run_rounds(MODULE, contenders, work, rounds=rounds, seconds=SECONDS)
    full = found[f"{case}: full"].best
    found = judged(found, "" if full is None else str(full.checksum))
    show(f"one more day: {case}", found, f"{case}: full")
    return found


def main() -> int:
    """Measure every case; 1 where rows differ or a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    parser.add_argument("--rounds", type=int, help="the best of so many counts")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender is not None:
        case, way = given.contender.split(": ")
        used = given.work / "used.duckdb"
        shutil.copy(given.work / KEPT, used)
        report(measure(used, case.partition(",")[0], way))
        return 0
    events, rounds = SIZES[given.size], given.rounds or ROUNDS[given.size]
    print(f"{events:,} events of {DAYS} days")
    found: dict[str, Outcome] = {}
    for table in TABLES:
        for per_tile in PER_TILE:
            # At size s the lists, which are not tiled, are only seen to be right.
            if given.size != "s" or table == "numbers" or per_tile == PER_TILE[-1]:
                found |= compare(table, events, per_tile, rounds)
    reached = check_goals("tiles", given.size, found)
    is_right = all(one.best is not None and one.verdict == "ok" for one in found.values())
    return 0 if is_right and reached else 1


def _open(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path), config={"threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


if __name__ == "__main__":
    sys.exit(main())
