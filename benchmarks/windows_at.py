"""Windows at label times: the kernel, cold and over its index, against the range join it is equal to.

    python benchmarks/windows_at.py --size m --rounds 3

Each engine runs in a process of its own, rounds interleaved, and warms up on a few rows first: Python imports and
templates are not what is compared. CPU seconds and peak memory are the process's, from the labels' file to Arrow in
memory. A checksum over values and their order must agree, or the line says WRONG. Goals are CPU ratios to the SQL at
size l: cold 8, indexed 25.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb

#: labels, events; 100 events per entity over 90 days.
SIZES = {"s": (20_000, 200_000), "m": (100_000, 1_000_000), "l": (1_000_000, 10_000_000)}
ENGINES = ("sql", "cold", "indexed")
GOALS = {"cold": 8.0, "indexed": 25.0}
THREADS = 2

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
    """Print a line per engine, then the ratios; exit code 1 where an answer is wrong."""
    arguments = _parser().parse_args()
    if arguments.run is not None:
        print(json.dumps(_run(arguments.run, arguments.folder)))
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        _generate(Path(folder), *SIZES[arguments.size])
        built = _measure("index", folder)
        runs: dict[str, list[dict[str, Any]]] = {engine: [] for engine in arguments.engines}
        for _ in range(arguments.rounds):
            for engine, found in runs.items():
                found.append(_measure(engine, folder))
    return _report(arguments.size, built, runs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--scratch", type=Path, default=None, help="where data is written")
    parser.add_argument("--run", choices=[*ENGINES, "index"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


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


def _measure(engine: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--run", engine, "--folder", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{engine} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run(engine: str, folder: Path) -> dict[str, Any]:
    """One engine, in this process: CPU seconds, peak memory in MiB, and a checksum of the answer."""
    from featmill.training.windows_at import How, build_event_index, windows_of

    view = _view(folder)
    spine = (f"SELECT * FROM read_parquet('{folder / 'labels.parquet'}')", "label_at")
    index = folder / "index"
    _warm_up(engine, view, spine)
    with duckdb.connect(config={"threads": THREADS}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        before = os.times()
        if engine == "index":
            build_event_index(connection, view, index, "benchmark")
            answer = None
        else:
            how = How(
                "sql" if engine == "sql" else "kernel",
                index=index if engine == "indexed" else None,
                fingerprint="benchmark",
            )
            answer = windows_of(connection, spine, view, how).reader().read_all()
        after = os.times()
        checksum = None if answer is None else _checksum(connection, answer)
    return {
        "cpu": after.user + after.system - before.user - before.system,
        "wall": after.elapsed - before.elapsed,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "checksum": checksum,
    }


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


def _report(size: str, built: dict[str, Any], runs: dict[str, list[dict[str, Any]]]) -> int:
    labels, events = SIZES[size]
    print(f"size {size}: {labels:,} labels x {events:,} events, {len(_WINDOWS)} windows")
    print(f"  index built in {built['cpu']:.2f} CPU s, peak {built['peak']:.0f} MiB")
    reference = next(iter(runs.values()))[0]["checksum"]
    cpu = {engine: statistics.median(r["cpu"] for r in found) for engine, found in runs.items()}
    wrong = False
    for engine, found in runs.items():
        right = all(r["checksum"] == reference for r in found)
        wrong = wrong or not right
        line = (
            f"  {engine:8} {cpu[engine]:8.2f} CPU s, peak {max(r['peak'] for r in found):6.0f} MiB"
        )
        if engine in GOALS and "sql" in cpu:
            line += f", {cpu['sql'] / cpu[engine]:5.1f}x (goal at l: {GOALS[engine]:.0f}x)"
        print(line + ("" if right else "  WRONG"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
