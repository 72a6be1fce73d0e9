"""Windows at label times: the kernel, cold and over its index, against the range join it is equal to.

    python -m benchmarks.windows_at --size l --rounds 3

Each engine runs in a process of its own and warms up on a few rows first: Python imports and templates are not what is
compared. CPU seconds and peak memory are the process's, from the labels' file to Arrow in memory. A checksum over
values and their order must agree with the range join's, or the answer is WRONG.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.harness import Measured, check_goals, judged, measured, report, run_rounds, show

MODULE = "benchmarks.windows_at"
#: labels, events; 100 events per entity over 90 days.
SIZES = {"s": (20_000, 200_000), "m": (100_000, 1_000_000), "l": (1_000_000, 10_000_000)}
ENGINES = ("sql", "cold", "indexed")
ROUNDS = {"s": 1, "m": 3, "l": 3}
THREADS = 2
#: What one run may take.
SECONDS = 600.0

_WINDOWS: dict[str, tuple[str, dict[str, Any]]] = {
    "events_1h": ("bigint", {"aggregate": "count", "window": "1h"}),
    "boxes_7d": ("bigint", {"aggregate": "count", "window": "7d", "where": "kind = 'k1'"}),
    "amount_7d": ("decimal(18, 2)", {"aggregate": "sum", "value": "amount", "window": "7d"}),
    "mean_30d": ("double", {"aggregate": "mean", "value": "amount", "window": "30d"}),
    "least_30d": ("decimal(18, 2)", {"aggregate": "min", "value": "amount", "window": "30d"}),
    "most_30d": ("decimal(18, 2)", {"aggregate": "max", "value": "amount", "window": "30d"}),
    "kinds_7d": ("bigint", {"aggregate": "count_distinct", "value": "kind", "window": "7d"}),
    "last_30d": ("varchar", {"aggregate": "last", "value": "kind", "window": "30d"}),
}


def main() -> int:
    """Print each engine's measures and the goals; exit code 1 where an answer is wrong or a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    parser.add_argument("--rounds", type=int, help="the best of so many counts")
    parser.add_argument("--scratch", type=Path, help="where data is written")
    parser.add_argument("--contender", choices=[*ENGINES, "index"], help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender is not None:
        report(_run(given.contender, given.work))
        return 0
    labels, events = SIZES[given.size]
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        work = Path(folder)
        _generate(work, labels, events)
        built = run_rounds(MODULE, ["index"], work, rounds=1, seconds=SECONDS)
        rounds = given.rounds or ROUNDS[given.size]
        found = run_rounds(MODULE, ENGINES, work, rounds=rounds, seconds=SECONDS)
    wanted = found["sql"].best
    found = judged(found, "" if wanted is None else str(wanted.checksum))
    title = f"{labels:,} labels x {events:,} events, {len(_WINDOWS)} windows"
    show(title, built | found, "sql")
    reached = check_goals("windows_at", given.size, found)
    is_right = all(one.best is not None and one.verdict == "ok" for one in found.values())
    return 0 if is_right and reached else 1


def _generate(folder: Path, labels: int, events: int) -> None:
    entities = max(events // 100, 1)
    span = 90 * 86_400_000_000
    with duckdb.connect(config={"threads": THREADS}) as connection:
        connection.execute(
            f"""
            COPY (
                SELECT (hash(i) % {entities})::BIGINT AS user_id,
                    TIMESTAMP '2026-01-01' + to_microseconds((hash(i, 1) % {span})::BIGINT) AS event_at,
                    event_at + INTERVAL 1 MINUTE AS ingested_at, 'event-' || i AS event_id,
                    CASE WHEN i % 50 > 0 THEN (hash(i, 2) % 100000)::DECIMAL(12, 0) / 100 END::DECIMAL(12, 2) AS amount,
                    'k' || hash(i, 3) % 20 AS kind
                FROM range({events}) AS numbers (i)
            ) TO '{folder / "events.parquet"}'
            """
        )
        connection.execute(
            f"""
            COPY (
                SELECT (hash(i, 4) % {entities})::BIGINT AS user_id, i AS label,
                    TIMESTAMP '2026-01-31' + to_microseconds((hash(i, 5) % {span * 2 // 3})::BIGINT) AS label_at
                FROM range({labels}) AS numbers (i)
            ) TO '{folder / "labels.parquet"}'
            """
        )


def _view(folder: Path) -> dict[str, Any]:
    features = [
        declared | {"name": name, "data_type": kind} for name, (kind, declared) in _WINDOWS.items()
    ]
    names = {name: name for name in ("event_at", "ingested_at", "event_id")}
    events = f"read_parquet('{folder / 'events.parquet'}')"
    return {"name": "user", "keys": ["user_id"], "events": events, "features": features, **names}


def _run(engine: str, folder: Path) -> Measured:
    """One engine, in this process."""
    from featmill.training.windows_at import How, build_event_index, windows_of

    view = _view(folder)
    spine = (f"SELECT * FROM read_parquet('{folder / 'labels.parquet'}')", "label_at")
    index = folder / "index"
    _warm_up(engine, view, spine)
    with duckdb.connect(config={"threads": THREADS}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        if engine == "index":
            return measured(lambda: build_event_index(connection, view, index, "benchmark"))[0]
        how = How(
            "sql" if engine == "sql" else "kernel",
            index=index if engine == "indexed" else None,
            fingerprint="benchmark",
        )
        result, answer = measured(
            lambda: windows_of(connection, spine, view, how).reader().read_all()
        )
        return replace(result, checksum=_checksum(connection, answer))


def _warm_up(engine: str, view: dict[str, Any], spine: tuple[str, str]) -> None:
    from featmill.training.windows_at import How, windows_of

    few = view | {"events": f"(SELECT * FROM {view['events']} LIMIT 1000)"}
    with duckdb.connect(config={"threads": THREADS}) as connection:
        how = How("sql" if engine == "sql" else "kernel")
        windows_of(connection, (f"{spine[0]} LIMIT 1000", spine[1]), few, how).reader().read_all()


def _checksum(connection: duckdb.DuckDBPyConnection, answer: object) -> str:
    connection.register("answer", answer)
    values = ", ".join(f'"user__{name}"' for name in _WINDOWS)
    numbered = "SELECT *, row_number() OVER () AS row_number FROM answer"
    sql = f"SELECT sum(hash(row_number, {values}))::VARCHAR FROM ({numbered})"
    return str(connection.execute(sql).fetchall()[0][0])


if __name__ == "__main__":
    sys.exit(main())
