"""The export to Redis against Feast's own materialise: same rows, same server, same bytes.

    python -m benchmarks.export [--size s|m|l] [--entities 100000 --rounds 3] [--only featmill,pump]

Each round runs the contenders one after the other, each in a process of its own, warmed up, into a
database of its own of one embedded Valkey:

- `feast`: `FeatureStore.materialize` from a Parquet file with Feast's stock Redis store;
- `featmill`: the same file through DuckDB, in key order, and `exporters.redis.export_view`;
- `redis-cli`: `redis-cli --pipe` with the commands encoded beforehand, where that program is installed;
- `pump`: the same through a bare socket of our own, for machines without it.

- `pump`: the same through a bare socket of our own, where it is not.
featmill wrote is compared.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import (
    Measured,
    check_goals,
    judged,
    measured,
    report,
    run_rounds,
    show,
)
from benchmarks.made_up import feature_table, rows
from exporters.redis import ExportJob, export_view
from featmill.contract.catalog import FeatureTable
from featmill.online.codec import pieces, write_commands
from featmill.online.connection import OnlineTarget
from featmill.online.pipeline import Wire
from featmill.online.plan import plan_view
from featmill.online.server import EmbeddedServer

PROJECT = "bench"
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
WARM_ROWS = 200
DATABASES = {"feast": 1, "featmill": 2, "pump": 3, "redis-cli": 5}
WARM_DATABASE = 4

COLUMNS = {f"count_{i}": "BIGINT" for i in range(10)}
COLUMNS |= {f"rate_{i}": "DOUBLE" for i in range(10)}
COLUMNS |= {f"name_{i}": "VARCHAR" for i in range(2)}

#: Size -> (entities, rounds).
SIZES = {"s": (10_000, 1), "m": (100_000, 3), "l": (1_000_000, 3)}

#: What one run may take: Feast needs about 2.5 minutes for a million entities.
SECONDS = 1_200.0


def main() -> int:
    """Run as the parent, or as one contender of one round; 1 where a hash is wrong or a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="m")
    parser.add_argument("--entities", type=int, help="instead of the size's")
    parser.add_argument("--rounds", type=int, help="instead of the size's")
    parser.add_argument("--only", help="these contenders, separated by commas")
    parser.add_argument("--contender", choices=DATABASES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender is not None:
        contend(given.contender, given.work)
        return 0
    names = given.only.split(",") if given.only else list(DATABASES)
    if shutil.which("redis-cli") is None and "redis-cli" in names:
        print("redis-cli is not installed: the pump stands for it")
        names.remove("redis-cli")
    entities, rounds = SIZES[given.size]
    size = given.size if given.entities is None else "other"
    with tempfile.TemporaryDirectory(prefix="featmill-bench-") as folder:
        return run(Path(folder), names, given.entities or entities, given.rounds or rounds, size)


def run(work: Path, names: list[str], entities: int, rounds: int, size: str) -> int:
    """Measure every contender in every round and print what came out."""
    pq.write_table(made_up(entities), work / "measured.parquet")
    pq.write_table(made_up(WARM_ROWS), work / "warm.parquet")
    write_encoded(work)
    server = EmbeddedServer(work / "online")
    server.start()
    try:
        outcomes = run_rounds("benchmarks.export", names, work, rounds=rounds, seconds=SECONDS)
    finally:
        server.stop()
    # Where Feast did not run, there is nothing to hold ours against.
    feast = outcomes["feast"].best if "feast" in outcomes else None
    if feast is not None and feast.checksum is not None:
        outcomes = judged(outcomes, feast.checksum)
    title = f"{entities:,} entities x {len(COLUMNS)} features; best of {rounds} rounds"
    show(title, outcomes, "feast")
    for name, one in outcomes.items():
        if one.best is not None:
            print(f"{name}: {entities / one.best.wall:,.0f} entities/s")
    is_right = all(one.verdict == "ok" for one in outcomes.values())
    return 0 if check_goals("export", size, outcomes) and is_right else 1


def contend(name: str, work: Path) -> None:
    """One contender into its emptied database; what it wrote is summed up where it is to be compared."""
    target = target_of(work, DATABASES[name])
    with target.client(timeout=120) as client:
        client.flushdb()
    result = CONTENDERS[name](work)
    if name in ("feast", "featmill"):
        result = replace(result, checksum=checksum(target))
    report(result)


def made_up(entities: int) -> pa.Table:
    """Rows of all three types; a tenth of the texts is NULL."""
    users = np.random.default_rng(6).permutation(entities)
    return rows(COLUMNS, users, AS_OF)


def declared(name: str) -> FeatureTable:
    """The feature table of the made-up rows."""
    return feature_table(name, COLUMNS)


def target_of(work: Path, database: int) -> OnlineTarget:
    """A database of the benchmark's server."""
    path = EmbeddedServer(work / "online").target.socket_path
    return OnlineTarget(socket_path=path, db=database)


def feast_contender(work: Path) -> Measured:
    """Feast's own materialise, after one of a small view."""
    warnings.simplefilter("ignore")
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64, String

    types = {"BIGINT": Int64, "DOUBLE": Float64, "VARCHAR": String}
    string = target_of(work, DATABASES["feast"]).feast_connection_string()
    store = FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(work / "registry.db"),
            online_store={"type": "redis", "connection_string": string},
            entity_key_serialization_version=3,
        )
    )
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    fields = [Field(name=name, dtype=types[sql_type]) for name, sql_type in COLUMNS.items()]
    views = [
        FeatureView(
            name=name,
            entities=[user],
            schema=[Field(name="user_id", dtype=Int64), *fields],
            ttl=timedelta(days=0),
            source=FileSource(
                name=f"{name}_source",
                path=str(work / f"{name}.parquet"),
                timestamp_field="feature_at",
            ),
        )
        for name in ("warm", "measured")
    ]
    store.apply([user, *views])
    start, end = AS_OF - timedelta(days=1), AS_OF + timedelta(days=1)
    store.materialize(start, end, feature_views=["warm"])
    with target_of(work, DATABASES["feast"]).client() as client:
        client.flushdb()
    return measured(lambda: store.materialize(start, end, feature_views=["measured"]))[0]


def featmill_contender(work: Path) -> Measured:
    """featmill's export, after one of a small view."""
    export(work, "warm", target_of(work, WARM_DATABASE))
    return measured(lambda: export(work, "measured", target_of(work, DATABASES["featmill"])))[0]


def export(work: Path, name: str, target: OnlineTarget) -> None:
    """Export one Parquet file in key order."""
    import duckdb

    connection = duckdb.connect()
    file = str(work / f"{name}.parquet")
    rows = connection.read_parquet(file).order("user_id").to_arrow_reader(16_384)
    job = ExportJob(
        project=PROJECT,
        table=declared(name),
        snapshot_id="s1",
        release_id="r1",
        as_of=AS_OF,
        total_rows=pq.read_metadata(file).num_rows,
        force=True,
    )
    export_view(target, job, rows, vanished=None)


def write_encoded(work: Path) -> None:
    """The commands of the measured rows, as a file."""
    plan = plan_view(PROJECT, declared("measured"))
    rows = pq.read_table(work / "measured.parquet").sort_by("user_id").combine_chunks()
    with (work / "commands.resp").open("wb") as file:
        for batch in rows.to_batches():
            for piece in pieces(batch):
                file.write(write_commands(plan, piece).tobytes())


def redis_cli_contender(work: Path) -> Measured:
    """The same commands, encoded beforehand, through `redis-cli --pipe`."""
    target = target_of(work, DATABASES["redis-cli"])
    command = ["redis-cli", "-s", str(target.socket_path), "-n", str(target.db), "--pipe"]

    def piped() -> None:
        with (work / "commands.resp").open("rb") as file:
            subprocess.run(command, stdin=file, check=True, capture_output=True)

    return measured(piped)[0]


def pump_contender(work: Path) -> Measured:
    """The same commands, encoded beforehand, through a bare socket."""
    commands = (work / "commands.resp").read_bytes()
    rows = pq.read_metadata(work / "measured.parquet").num_rows
    with Wire(target_of(work, DATABASES["pump"])) as wire:
        return measured(lambda: pump(wire, memoryview(commands), rows))[0]


def pump(wire: Wire, rest: memoryview, replies: int) -> None:
    """Send everything, and count the lines that come back."""
    while rest or replies > 0:
        sent, received = wire.exchange(rest[: 1 << 20])
        rest = rest[sent:]
        replies -= received.count(b"\n")


CONTENDERS: dict[str, Callable[[Path], Measured]] = {
    "feast": feast_contender,
    "featmill": featmill_contender,
    "pump": pump_contender,
    "redis-cli": redis_cli_contender,
}


def checksum(target: OnlineTarget) -> str:
    """How many hashes there are, and a sum over each one's key, fields and values."""
    total = count = 0
    with target.client(timeout=120) as client:
        keys = [k for k in client.scan_iter(count=10_000) if not k.startswith(b"featmill:")]
        for start in range(0, len(keys), 5_000):
            chunk = keys[start : start + 5_000]
            pipe = client.pipeline(transaction=False)
            for key in chunk:
                pipe.hgetall(key)
            for key, fields in zip(chunk, pipe.execute(), strict=True):
                text = repr((key, sorted(fields.items()))).encode()
                total ^= int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())
                count += 1
    return f"{count} hashes, {total:032x}"


if __name__ == "__main__":
    raise SystemExit(main())
