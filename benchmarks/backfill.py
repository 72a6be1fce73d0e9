"""What dbt takes of a backfill: many dates of the demo's tables, in one process.

    python -m benchmarks.backfill --size m

Size s is 10 dates over 20,000 events, m 90 dates over 200,000. Data, home and dbt's target lie in a folder of their own
and are removed. Printed: wall seconds; how many of them were SQL and publishing (time in which at least one DuckDB
statement, publication or release was under way); the rest, which is dbt's share: parsing, compiling, scheduling, its
artifacts, and our own Python around it; and seconds per date at the start and at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.harness import Measured, Outcome, check_goals, cpu_seconds, peak_mib

#: Size -> (dates, events, days of data).
SIZES = {"s": (10, 20_000, 40), "m": (90, 200_000, 120), "l": (90, 1_000_000, 120)}
END = datetime(2026, 1, 1, tzinfo=UTC)
#: Dates that count as the start and as the end.
EDGE = 5


@dataclass
class Stopwatch:
    """Seconds in which at least one of the watched calls was under way, whatever the thread."""

    seconds: float = 0.0
    _depth: int = 0
    _since: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside."""
        with self._lock:
            if self._depth == 0:
                self._since = time.perf_counter()
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self.seconds += time.perf_counter() - self._since

    def watch(self, owner: type, name: str) -> None:
        """Count each call of a method."""
        original: Callable[..., Any] = getattr(owner, name)

        def watched(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
            with self.running():
                return original(*arguments, **named)

        setattr(owner, name, watched)


def watched_work() -> Stopwatch:
    """A stopwatch over every statement dbt's adapter runs, and over publishing, releasing and showing."""
    from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper

    from featmill.warehouse.plugin import Plugin
    from featmill.warehouse.session import Session

    stopwatch = Stopwatch()
    for owner, name in (
        (DuckDBCursorWrapper, "execute"),
        (Session, "publish"),
        (Session, "release"),
        (Plugin, "show_released"),
    ):
        stopwatch.watch(owner, name)
    return stopwatch


def measure(folder: Path, size: str) -> tuple[dict[str, Outcome], list[float]]:
    """Backfill once; what dbt and the whole took, and the seconds of each date."""
    from featmill.generator import generate
    from featmill.settings import load_settings
    from orchestration.backfill import Backfill, Dates, Watch

    dates, events, days = SIZES[size]
    generate(folder / "raw", events=events, days=days, seed=42)
    os.environ.update(
        FEATMILL_HOME=str(folder / "home"),
        FEATMILL_SOURCES=str(folder / "raw"),
        DBT_TARGET_PATH=str(folder / "target"),
        DBT_LOG_PATH=str(folder / "logs"),
        DO_NOT_TRACK="1",
    )
    stopwatch, seconds = watched_work(), list[float]()
    wanted = Dates(END - timedelta(days=dates - 1), END)
    begun, cpu = time.perf_counter(), cpu_seconds()
    watch = Watch(on_date=lambda built: seconds.append(built.seconds))
    Backfill(load_settings()).run(wanted, watch=watch)
    wall, cpu = time.perf_counter() - begun, cpu_seconds() - cpu
    whole = Measured(wall, cpu, peak_mib())
    outcomes = {
        "backfill": Outcome("backfill", whole),
        "dbt": Outcome("dbt", Measured(wall - stopwatch.seconds, 0.0, 0.0)),
    }
    return outcomes, seconds


def main() -> int:
    """Run one size; 1 where its goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="s")
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as folder:
        outcomes, seconds = measure(Path(folder), size)
    whole, dbt = (outcomes[name].best for name in ("backfill", "dbt"))
    if whole is None or dbt is None:
        return 1
    per_date = seconds[1:]
    print(f"{len(seconds)} dates, {SIZES[size][1]:,} events")
    print(f"wall {whole.wall:.1f} s, CPU {whole.cpu:.1f} s, peak {whole.peak_mib:,.0f} MiB")
    share = dbt.wall / whole.wall
    print(f"SQL and publishing {whole.wall - dbt.wall:.1f} s, dbt {dbt.wall:.1f} s: {share:.1%}")
    print(
        f"the first date {seconds[0]:.1f} s; then {_mean(per_date[:EDGE]):.2f} s a date at the start, "
        f"{_mean(per_date[-EDGE:]):.2f} s at the end"
    )
    return 0 if check_goals("backfill", size, outcomes) else 1


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    sys.exit(main())
