"""How the cost of a training set grows with labels, rows and feature tables.

    python -m benchmarks.growth [--size s|m|l] [--rounds 2] [--out target/growth.png]

Each point is one contender in a process of its own on the data of `benchmarks.point_in_time`. Printed as a table and
drawn as a picture: a straight line that is flatter than another stays ahead.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.harness import REPOSITORY, Outcome, measured, report, run_rounds
from benchmarks.point_in_time import TTL_US, VALUES, build, connect, make, relation, snapshots

if TYPE_CHECKING:
    import pyarrow as pa

#: Size -> (labels, rows) of the point that the other points grow from.
SIZES = {"s": (20_000, 100_000), "m": (100_000, 1_000_000), "l": (1_000_000, 1_000_000)}
TABLES = (1, 3, 10)
#: Times as many labels, or rows, as the first point.
FACTORS = (1, 3, 10)
ROUNDS = {"s": 1, "m": 2, "l": 2}
MOST_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Point:
    """One size on one axis: what grows, to how much."""

    axis: str
    amount: int
    labels: int
    rows: int
    tables: int


def main() -> int:
    """Run as the parent, or as one contender of one round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    parser.add_argument("--rounds", type=int, help="the best of so many counts")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "target" / "growth.png")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender is not None:
        return contend(given.contender, given.work)
    found: list[tuple[Point, dict[str, Outcome]]] = []
    with tempfile.TemporaryDirectory(prefix="featmill-bench-") as folder:
        for point in points(*SIZES[given.size]):
            found.append((point, measure(Path(folder), point, given.rounds or ROUNDS[given.size])))
            print(f"{point.axis}: {point.amount:,}", file=sys.stderr)
    show(found)
    draw(found, given.out)
    print(f"drawn: {given.out}")
    return 0


def points(labels: int, rows: int) -> list[Point]:
    """What is measured: each axis grows by itself."""
    return [
        *(Point("labels", labels * f, labels * f, rows, 1) for f in FACTORS),
        *(Point("rows", rows * f, labels, rows * f, 1) for f in FACTORS),
        *(Point("tables", n, labels, rows, n) for n in TABLES),
    ]


def measure(work: Path, point: Point, rounds: int) -> dict[str, Outcome]:
    """Each contender at one point."""
    shutil.rmtree(work, ignore_errors=True)
    for folder, few in (("measured", 1), ("warm", 100)):
        make(
            work / folder, max(point.labels // few, 100), max(point.rows // few, 1_000), (False, 0)
        )
        build(work / folder)
        (work / folder / "tables").write_text(str(point.tables))
    return run_rounds(
        "benchmarks.growth", list(CONTENDERS), work, rounds=rounds, seconds=MOST_SECONDS
    )


def contend(name: str, work: Path) -> int:
    """Join the small set, then the measured one."""
    warnings.simplefilter("ignore")
    join = CONTENDERS[name]
    join(work / "warm")
    result, _ = measured(partial(join, work / "measured"))
    report(result)
    return 0


def featmill(engine: str, work: Path) -> pa.Table:
    """Ours, over as many tables as the point has; they hold the same rows under names of their own."""
    from featmill.training import planner

    views = [
        {
            "name": f"daily_{number}",
            "relation": f"({relation(work)})",
            "snapshots": snapshots(work),
            "keys": ["user_id"],
            "event_time": "feature_at",
            "ttl_us": TTL_US,
            "features": [{"name": n, "ignore_nulls": False, "default_sql": "null"} for n in VALUES],
        }
        for number in range(int((work / "tables").read_text()))
    ]
    spine = f"SELECT * FROM read_parquet('{work / 'labels.parquet'}')"
    with connect() as connection:
        joined = planner.plan(
            connection, planner.Join(spine, "event_timestamp", views), engine=engine
        )
        return joined.reader(65_536).read_all()


def duckdb_asof(work: Path) -> pa.Table:
    """DuckDB's ASOF join as its documentation has it, table by table."""
    tables = range(int((work / "tables").read_text()))
    values = ", ".join(
        f"CASE WHEN l.event_timestamp < r{t}.feature_at + to_microseconds({TTL_US}) THEN r{t}.{n} END AS {n}_{t}"
        for t in tables
        for n in VALUES
    )
    joins = " ".join(
        f"ASOF LEFT JOIN ({relation(work)}) r{t} ON l.user_id = r{t}.user_id AND l.event_timestamp >= r{t}.feature_at"
        for t in tables
    )
    with connect() as connection:
        return connection.sql(
            f"SELECT l.*, {values} FROM read_parquet('{work / 'labels.parquet'}') l {joins}"
        ).to_arrow_table()


CONTENDERS: dict[str, Callable[[Path], pa.Table]] = {
    "featmill indexed": partial(featmill, "indexed"),
    "featmill asof": partial(featmill, "asof"),
    "duckdb asof": duckdb_asof,
}


def show(found: Sequence[tuple[Point, dict[str, Outcome]]]) -> None:
    """CPU seconds by point and contender."""
    table = Table(title="CPU seconds", title_justify="left")
    for heading in ("axis", "amount", *CONTENDERS):
        table.add_column(heading, justify="left" if heading == "axis" else "right")
    for point, outcomes in found:
        cells = [
            one.verdict if one.best is None else f"{one.best.cpu:.2f}" for one in outcomes.values()
        ]
        table.add_row(point.axis, f"{point.amount:,}", *cells)
    Console(width=120).print(table)


def draw(found: Sequence[tuple[Point, dict[str, Outcome]]], out: Path) -> None:
    """One panel for each axis."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    axes = list(dict.fromkeys(point.axis for point, _ in found))
    figure, panels = plt.subplots(1, len(axes), figsize=(4 * len(axes), 3.6), sharey=True)
    for panel, axis in zip(panels, axes, strict=True):
        of_axis = [(point, outcomes) for point, outcomes in found if point.axis == axis]
        for name in CONTENDERS:
            measures = [
                (p.amount, o[name].best.cpu) for p, o in of_axis if o[name].best is not None
            ]
            panel.plot(*zip(*measures, strict=True), marker="o", label=name)
        amounts = [point.amount for point, _ in of_axis]
        panel.set(xscale="log", yscale="log", xlabel=axis)
        panel.set_xticks(amounts, [f"{amount:,}" for amount in amounts])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("CPU seconds")
    panels[0].legend()
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
