"""A rollback in generation mode under a load of reads: how long it takes, and whether any read was wrong.

    python -m benchmarks.rollback [--size s|m|l]

A lake holds two releases of one feature table, every value of which says which release it is of; both are promoted, so
the store keeps the first beside the second. Another process reads 20 entities at a time with `FeatureReader`, without
a pause, and checks that each answer is of one release, complete, and `ok`. Meanwhile this one goes back and forth:

- `rollback`: the slowest of all rollbacks, with the ledger; nothing else counts here as one second, `a second`;
- then the generation that does not serve is removed, and the reads' times are shown beside those of a quiet server.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from benchmarks.harness import REPOSITORY, Measured, Outcome, check_goals, measured, show
from benchmarks.made_up import feature_table, release
from featmill.contract.catalog import Catalog, FeatureRef, FeatureService, ServingPolicy
from featmill.online.server import EmbeddedServer
from featmill.online.serving_state import PublishMode
from featmill.serving.answer import Status
from featmill.serving.reader import FeatureReader
from featmill.settings import Settings
from featmill.warehouse.registry import open_registry
from orchestration import online_steps, promotion

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2026, 3, 1, tzinfo=UTC)
#: Entities.
SIZES = {"s": 20_000, "m": 100_000, "l": 1_000_000}
FLIPS = 20
READ_ROWS = 20
#: Between two flips, so that reads see each.
PAUSE = 0.1
FEATURES = ("count_0", "count_1", "count_2", "rate_0", "rate_1", "rate_2")
TABLE = feature_table(
    "measured", {name: "BIGINT" if name.startswith("count") else "DOUBLE" for name in FEATURES}
)
SERVICE = FeatureService(
    name="all",
    description="",
    owner=None,
    features=tuple(FeatureRef(view=TABLE.name, feature=name) for name in FEATURES),
    policy=ServingPolicy(deadline=timedelta(seconds=5)),
)
CATALOG = Catalog(project="bench", tables=(TABLE,), services=(SERVICE,), sources=())


def main() -> int:
    """Run as the parent or as the reader; 1 where a read was wrong or a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    parser.add_argument("--read", type=int, metavar="ENTITIES", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read is not None:
        read(given.work, given.read)
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="featmill-bench-") as folder,
        # The declarations are made up here, there is no dbt project to parse.
        patch.object(online_steps, "load_catalog", lambda _: CATALOG),
    ):
        return run(Path(folder), given.size, SIZES[given.size])


def run(work: Path, size: str, entities: int) -> int:
    """Promote both releases, flip under reads, remove under reads."""
    settings = Settings(project_dir=work, home=work, publish_mode="generation", keep_generations=1)
    releases = [publish(settings, day, entities) for day in range(2)]
    server = EmbeddedServer(settings.online_dir)
    server.start()
    try:
        for release in releases:
            wanted = promotion.Wanted(release, PublishMode.GENERATION, with_feast=False)
            done = promotion.promote_as(settings, wanted)
            print(f"promoted {entities:,} entities in {done.seconds:.1f} s")
        slowest, reads = flips(settings, entities, releases)
        quiet = reading(settings, entities, lambda: time.sleep(3))
        removal = reading(settings, entities, lambda: removed(settings))
    finally:
        server.stop()
    for name, one in (("flips", reads), ("quiet", quiet), ("removal", removal)):
        print(
            f"reads, {name}: {one['reads']:,}, {one['wrong']} wrong, releases seen {one['releases']}, "
            f"p50 {one['p50']:.2f} ms, p99 {one['p99']:.2f} ms, max {one['max']:.1f} ms"
        )
    is_right = not any(one["wrong"] for one in (reads, quiet, removal)) and reads["releases"] == 2
    outcomes = {
        "rollback": Outcome("rollback", slowest, "ok" if is_right else "WRONG"),
        "a second": Outcome("a second", Measured(1.0, 1.0, slowest.peak_mib)),
        "removal": Outcome("removal", _as_measured(removal), "ok" if is_right else "WRONG"),
        "10 ms": Outcome("10 ms", Measured(0.01, 0.01, slowest.peak_mib)),
    }
    show(
        f"{entities:,} entities, {FLIPS} rollbacks", {"rollback": outcomes["rollback"]}, "rollback"
    )
    return 0 if check_goals("rollback", size, outcomes) and is_right else 1


def flips(
    settings: Settings, entities: int, releases: list[str]
) -> tuple[Measured, dict[str, Any]]:
    """Back and forth while another process reads; the slowest, and what the reads found."""
    found: list[Measured] = []

    def back_and_forth() -> None:
        for turn in range(FLIPS):
            to = releases[turn % 2]
            result, done = measured(partial(promotion.rollback, settings, to))
            if done.release_id != to or done.views:
                raise SystemExit(f"rolled back to {done.release_id} with {len(done.views)} views")
            found.append(result)
            time.sleep(PAUSE)

    reads = reading(settings, entities, back_and_forth)
    seconds = sorted(result.wall for result in found)
    print(f"rollbacks: median {seconds[len(seconds) // 2]:.3f} s, slowest {seconds[-1]:.3f} s")
    return max(found, key=lambda result: result.wall), reads


def removed(settings: Settings) -> None:
    """Remove what does not serve."""
    started = time.perf_counter()
    done = promotion.clean(settings.model_copy(update={"keep_generations": 0}))
    gone = sum(one.entities for one in done)
    print(f"removed {gone:,} entities in {time.perf_counter() - started:.1f} s")


def reading(settings: Settings, entities: int, action: Callable[[], None]) -> dict[str, Any]:
    """Do something while another process reads; what it found."""
    command = [sys.executable, "-m", "benchmarks.rollback", "--read", str(entities)]
    command += ["--work", str(settings.home_dir)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "reading\n":
                raise SystemExit("the reader did not start")
            action()
        finally:
            said, _ = process.communicate(input="", timeout=60)
    found: dict[str, Any] = json.loads(said)
    return found


def read(work: Path, entities: int) -> None:
    """Read until standard input ends, then say how it went."""
    target = EmbeddedServer(work / "online").target
    reader = FeatureReader.open(CATALOG, target)
    done = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    random = np.random.default_rng(3)
    print("reading", flush=True)
    times, wrong, seen = [], 0, set()
    while not done.is_set():
        users = random.integers(0, entities, READ_ROWS).tolist()
        begun = time.perf_counter()
        answer = reader.read("all", {"user_id": users}, as_of=START)
        times.append(time.perf_counter() - begun)
        found = {
            int(value) - user
            for column in answer.values
            for value, user in zip(column, users, strict=True)
            if value is not None
        }
        is_whole = all(set(statuses) == {Status.OK} for statuses in answer.statuses)
        wrong += not (is_whole and len(found) == 1 and answer.degraded is None)
        seen |= found
    reader.close()
    p50, p99 = (float(np.quantile(times, q)) * 1e3 for q in (0.5, 0.99))
    result = {"reads": len(times), "wrong": wrong, "releases": len(seen)}
    print(json.dumps(result | {"p50": p50, "p99": p99, "max": max(times) * 1e3}))


def publish(settings: Settings, day: int, entities: int) -> str:
    """A release of one snapshot: every value is the entity's number and the day."""
    moment = pa.timestamp("us", "UTC")
    users = np.arange(entities)
    columns: dict[str, Any] = {
        "user_id": pa.array(users),
        "feature_at": pa.array([START] * entities, moment),
    }
    for feature in TABLE.features:
        values = users + day
        columns[feature.name] = pa.array(
            values.astype(np.float64) if feature.type.sql == "DOUBLE" else values
        )
    registry = open_registry(settings.lake_dir)
    return release(registry, TABLE, START + timedelta(days=day), pa.table(columns))


def _as_measured(reads: dict[str, Any]) -> Measured:
    """The 99th percentile of the reads, as seconds."""
    return Measured(reads["p99"] / 1e3, reads["p99"] / 1e3, 0.0)


if __name__ == "__main__":
    sys.exit(main())
