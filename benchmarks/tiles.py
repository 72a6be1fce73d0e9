"""What one more day of a feature table costs: from tiles, and from all its events.

Run `python -m benchmarks.tiles [EVENTS]`. For 1, 5 and 10 events per entity and tile of a day it prints the CPU seconds
of both, each in a process of its own, and their ratio: of a table of counts, sums, means, deviations, extremes and last
values over four windows, and of one of lists (distinct values, the most frequent, the last three), which are not
tiled. The rows of both are compared; `WRONG` where they differ.

The SQL is what dbt runs, rendered without it. The tiles' time includes the check that nothing before the bookmark
changed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import duckdb

from tests.integration.windows.rendered import macros

EVENTS = 2_000_000
PER_TILE = (1, 5, 10)
DAYS = 91
ROUNDS = 2
GOAL = 3.0
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


def measure(path: Path, table: str, way: str) -> dict[str, Any]:
    """The CPU seconds of one way, and a checksum of its rows."""
    with _open(path) as connection:
        made = Table(table, connection)
        before = _cpu()
        getattr(made, way)()
        seconds = _cpu() - before
        found = connection.execute("SELECT count(*), bit_xor(md5_number(a::VARCHAR)) FROM answer a")
        rows, digest = found.fetchall()[0]
    return {"seconds": seconds, "answer": [rows, str(digest)]}


def compare(table: str, events: int, per_tile: int) -> bool:
    """Print one line; whether the rows are equal and, where it is asked of this case, the goal is met."""
    best: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory() as folder:
        kept = Path(folder) / "kept.duckdb"
        prepare(kept, table, events, per_tile)
        for _ in range(ROUNDS):
            for way in ("full", "tiles"):
                used = Path(folder) / "used.duckdb"
                shutil.copy(kept, used)
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.tiles",
                    "--measure",
                    str(used),
                    table,
                    way,
                ]
                printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found = json.loads(printed)
                if way not in best or found["seconds"] < best[way]["seconds"]:
                    best[way] = found
    full, tiles = best["full"], best["tiles"]
    is_right = full["answer"] == tiles["answer"]
    ratio = full["seconds"] / tiles["seconds"]
    print(
        f"{table:>8} {per_tile:>9} {full['seconds']:>9.2f} {tiles['seconds']:>9.2f} {ratio:>6.1f}x "
        f"{'' if is_right else 'WRONG'}",
        flush=True,
    )
    is_asked = table == "numbers" and per_tile >= 5
    return is_right and (ratio >= GOAL or not is_asked)


def main(events: int = EVENTS) -> int:
    """Measure every case; 1 where rows differ or the goal is missed."""
    print(f"one more day over {events:,} events of {DAYS} days, CPU seconds, best of {ROUNDS}")
    print(f"{'table':>8} {'per tile':>9} {'full':>9} {'tiles':>9}")
    good = [compare(table, events, per_tile) for table in TABLES for per_tile in PER_TILE]
    return 0 if all(good) else 1


def _open(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path), config={"threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _cpu() -> float:
    used = getrusage(RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[2]), sys.argv[3], sys.argv[4])))
    else:
        sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
