"""A republish in place with 5 % changed rows against a full one: same snapshots, same server, same rows afterwards.

    python -m benchmarks.publish_changes [--size s|m|l]

A lake holds two snapshots of one feature table of 20 numbers and 2 texts. In the second, a twentieth of the entities
has two other values and a new event time, and one in 5,000 gave way to another. Each contender has a database of its
own, in which the first snapshot is online, and a process of its own that publishes the second:

- `difference`: as `featmill promote` does in place, reading both snapshots and writing what differs;
- `full`: with `--force`, every row, and then the entities that vanished.

CPU is that of the publishing process and of the server together, since both are busy in a full publish. After each run
every value online is compared with the snapshot.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.export import COLUMNS, declared
from benchmarks.harness import Measured, check_goals, judged, measured, report, run_rounds, show
from benchmarks.made_up import release
from benchmarks.made_up import rows as made_rows
from exporters.changed_rows import row_source
from exporters.redis import ExportJob, export_view, verify_view
from exporters.rows import visible_rows
from featmill.online.connection import OnlineTarget
from featmill.online.server import EmbeddedServer
from featmill.warehouse.model import Snapshot
from featmill.warehouse.registry import Registry, open_registry

PROJECT = "bench"
START = datetime(2026, 3, 1, tzinfo=UTC)
CHURN = 0.05
#: Size -> (entities, rounds).
SIZES = {"s": (20_000, 1), "m": (100_000, 3), "l": (1_000_000, 3)}
DATABASES = {"full": 1, "difference": 2}
TABLE = declared("measured")
#: A contender may not take longer, in seconds.
MOST = 600.0


def main() -> int:
    """Run as the parent, or as one contender; 1 where something online was wrong or a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    parser.add_argument("--entities", type=int, help="instead of the size's")
    parser.add_argument("--contender", choices=DATABASES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender is not None:
        report(contend(given.work, given.contender))
        return 0
    entities, rounds = SIZES[given.size]
    size = given.size if given.entities is None else "other"
    with tempfile.TemporaryDirectory(prefix="featmill-bench-") as folder:
        return run(Path(folder), size, given.entities or entities, rounds)


def run(work: Path, size: str, entities: int, rounds: int) -> int:
    """Publish the first snapshot for both, then let each publish the second."""
    registry = open_registry(work / "lake")
    rows = made_up(entities)
    publish(registry, 0, rows)
    publish(registry, 1, changed(rows))
    del rows
    server = EmbeddedServer(work / "online")
    server.start()
    try:
        found = run_rounds(
            "benchmarks.publish_changes", list(DATABASES), work, rounds=rounds, seconds=MOST
        )
    finally:
        server.stop()
    outcomes = judged(found, "equal")
    show(f"{entities:,} entities x {len(COLUMNS)} features, {CHURN:.0%} changed", outcomes, "full")
    reached = check_goals("publish_changes", size, outcomes)
    return 0 if reached and all(one.verdict == "ok" for one in outcomes.values()) else 1


def contend(work: Path, name: str) -> Measured:
    """One contender: the first snapshot online, then the second, measured and verified."""
    registry = open_registry(work / "lake")
    path = EmbeddedServer(work / "online").target.socket_path
    target = OnlineTarget(socket_path=path, db=DATABASES[name])
    first, second = registry.released_snapshots(TABLE.name)
    export(registry, target, first, force=True)
    before = server_cpu(target)
    result, _ = measured(lambda: export(registry, target, second, force=name == "full"))
    result = replace(result, cpu=result.cpu + server_cpu(target) - before)
    with visible_rows(TABLE, second, [first, second]) as visible:
        verified = verify_view(target, PROJECT, TABLE, visible.reader())
    return Measured(**asdict(result) | {"checksum": "equal" if verified.is_equal else "different"})


def export(registry: Registry, target: OnlineTarget, snapshot: Snapshot, *, force: bool) -> None:
    """What a step does for one view."""
    released = registry.released_snapshots(TABLE.name)
    with visible_rows(TABLE, snapshot, released) as visible:
        job = ExportJob(
            project=PROJECT,
            table=TABLE,
            snapshot_id=snapshot.snapshot_id,
            release_id="r",
            as_of=snapshot.as_of,
            total_rows=visible.count,
            content=visible.content,
            holds=visible.holds,
            force=force,
        )
        result = export_view(target, job, row_source(visible, TABLE, registry))
    print(
        f"{result.rows:,} rows in {result.seconds:.2f} s, {result.bytes / 1e6:.1f} MB, {result.deleted:,} gone"
    )


def server_cpu(target: OnlineTarget) -> float:
    """The CPU seconds that the server has spent."""
    with target.client() as client:
        spent = client.info("cpu")
    return float(spent["used_cpu_user"] + spent["used_cpu_sys"])


def made_up(entities: int) -> pa.Table:
    """Rows of all three types; a tenth of the texts is NULL."""
    return made_rows(COLUMNS, np.arange(entities), START)


def changed(rows: pa.Table) -> pa.Table:
    """A twentieth of the rows restated a day later, in two columns; one in 5,000 entities replaced by another."""
    random = np.random.default_rng(8)
    hit = random.random(rows.num_rows) < CHURN
    users = rows["user_id"].to_numpy() + np.where(
        np.arange(rows.num_rows) % 5_000 == 0, rows.num_rows, 0
    )
    times = rows["feature_at"].cast(pa.timestamp("us")).to_numpy() + hit * np.timedelta64(1, "D")
    restated = {
        "user_id": pa.array(users),
        "feature_at": pa.array(times, pa.timestamp("us", "UTC")),
        "count_0": pa.array(rows["count_0"].to_numpy() + hit),
        "rate_3": pa.array(rows["rate_3"].to_numpy() + 0.5 * hit),
    }
    for name, values in restated.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, values)
    return rows


def publish(registry: Registry, day: int, rows: pa.Table) -> None:
    """A snapshot and its release."""
    release(registry, TABLE, START + timedelta(days=day), rows)


if __name__ == "__main__":
    sys.exit(main())
