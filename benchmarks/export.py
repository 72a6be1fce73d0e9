"""The export to Redis against Feast's own materialise: same rows, same server, same bytes.

    python -m benchmarks.export --entities 100000 --rounds 3

Each round runs the contenders one after the other, each in a process of its own, warmed up, into a
database of its own of one embedded Valkey:

- `feast`: `FeatureStore.materialize` from a Parquet file with Feast's stock Redis store;
- `featmill`: the same file through DuckDB, in key order, and `exporters.redis.export_view`;
- `pump`: the commands, encoded beforehand, through a bare socket. This is what `redis-cli --pipe`
  does; the embedded server's package ships no client, so the benchmark brings its own.

Wall and CPU are the client process's; ratios are to Feast. At the end every hash that the first two wrote is compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from exporters.redis import ExportJob, export_view
from featmill.contract.catalog import Feature, FeatureTable, JoinKey
from featmill.contract.types import parse_type
from featmill.online.codec import pieces, write_commands
from featmill.online.connection import OnlineTarget
from featmill.online.pipeline import Wire
from featmill.online.plan import plan_view
from featmill.online.server import EmbeddedServer

PROJECT = "bench"
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
WARM_ROWS = 200
DATABASES = {"feast": 1, "featmill": 2, "pump": 3}
WARM_DATABASE = 4

COLUMNS = {f"count_{i}": "BIGINT" for i in range(9)}
COLUMNS |= {f"rate_{i}": "DOUBLE" for i in range(9)}
COLUMNS |= {f"name_{i}": "VARCHAR" for i in range(2)}

#: Size -> (entities, rounds).
SIZES = {"s": (10_000, 1), "m": (100_000, 3), "l": (1_000_000, 3)}

Measured = dict[str, float]


def main() -> None:
    """Run as the parent, or as one contender of one round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="m")
    parser.add_argument("--entities", type=int, help="instead of the size's")
    parser.add_argument("--rounds", type=int, help="instead of the size's")
    parser.add_argument("--contender", choices=DATABASES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender is not None:
        print(json.dumps(CONTENDERS[given.contender](given.work)))
        return
    with tempfile.TemporaryDirectory(prefix="featmill-bench-") as folder:
        entities, rounds = SIZES[given.size]
        run(Path(folder), given.entities or entities, given.rounds or rounds)


def run(work: Path, entities: int, rounds: int) -> None:
    """Measure every contender in every round and print what came out."""
    pq.write_table(made_up(entities), work / "measured.parquet")
    pq.write_table(made_up(WARM_ROWS), work / "warm.parquet")
    server = EmbeddedServer(work / "online")
    server.start()
    try:
        found: dict[str, list[Measured]] = {name: [] for name in DATABASES}
        for _ in range(rounds):
            for name in DATABASES:
                found[name].append(one_round(work, name))
        sums = [checksum(target_of(work, DATABASES[name])) for name in ("feast", "featmill")]
    finally:
        server.stop()
    show(found, entities, rounds)
    same = sums[0] == sums[1] and sums[0][0] == entities
    print(f"bytes: {sums[0][0]} and {sums[1][0]} hashes, {'identical' if same else 'DIFFERENT'}")
    if not same:
        raise SystemExit(1)


def one_round(work: Path, name: str) -> Measured:
    """One contender into its emptied database, with what the server spent meanwhile."""
    with target_of(work, DATABASES[name]).client(timeout=120) as client:
        client.flushdb()
        before = client.info("cpu")
        result = in_own_process(work, name)
        after = client.info("cpu")
    spent = [after[key] - before[key] for key in ("used_cpu_user", "used_cpu_sys")]
    return result | {"server": sum(spent)}


def made_up(entities: int) -> pa.Table:
    """Rows of all three types; a tenth of the texts is NULL."""
    random = np.random.default_rng(7)
    columns: dict[str, pa.Array] = {
        "user_id": pa.array(random.permutation(entities), pa.int64()),
        "feature_at": pa.array([AS_OF] * entities, pa.timestamp("us", "UTC")),
    }
    for name, sql_type in COLUMNS.items():
        if sql_type == "BIGINT":
            columns[name] = pa.array(random.integers(0, 10_000_000, entities))
        elif sql_type == "DOUBLE":
            columns[name] = pa.array(random.random(entities))
        else:
            texts = np.char.add("city-", random.integers(0, 5_000, entities).astype(str))
            columns[name] = pa.array(texts.tolist(), mask=random.random(entities) < 0.1)
    return pa.table(columns)


def declared(name: str) -> FeatureTable:
    """The feature table of the made-up rows."""
    features = tuple(
        Feature(
            name=column,
            type=parse_type(sql_type),
            description="",
            has_default=False,
            default=None,
            ignore_nulls=False,
            classification="internal",
            window=None,
        )
        for column, sql_type in COLUMNS.items()
    )
    return FeatureTable(
        name=name,
        model=f"model.bench.feat_{name}",
        candidate=f"feat_{name}",
        publish_node=None,
        version=None,
        entity="user",
        join_keys=(JoinKey(name="user_id", type=parse_type("BIGINT")),),
        event_time="feature_at",
        ttl=None,
        online=True,
        tenant="default",
        owner=None,
        description="",
        tags=(),
        features=features,
        sources=(),
    )


def target_of(work: Path, database: int) -> OnlineTarget:
    """A database of the benchmark's server."""
    path = EmbeddedServer(work / "online").target.socket_path
    return OnlineTarget(socket_path=path, db=database)


def in_own_process(work: Path, name: str) -> Measured:
    """Run one contender; its result is the last line it prints."""
    command = [sys.executable, "-m", "benchmarks.export", "--contender", name, "--work", str(work)]
    quiet = {"DO_NOT_TRACK": "1", "FEAST_USAGE": "False"}
    done = subprocess.run(
        command,
        cwd=Path(__file__).resolve().parent.parent,
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    measured: Measured = json.loads(done.stdout.splitlines()[-1])
    return measured


def measured(action: Callable[[], object]) -> Measured:
    """The wall and the CPU seconds an action takes this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


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
    return measured(lambda: store.materialize(start, end, feature_views=["measured"]))


def featmill_contender(work: Path) -> Measured:
    """featmill's export, after one of a small view."""
    export(work, "warm", target_of(work, WARM_DATABASE))
    return measured(lambda: export(work, "measured", target_of(work, DATABASES["featmill"])))


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


def pump_contender(work: Path) -> Measured:
    """The same commands, encoded beforehand, through a bare socket."""
    plan = plan_view(PROJECT, declared("measured"))
    rows = pq.read_table(work / "measured.parquet").sort_by("user_id").combine_chunks()
    commands = b"".join(
        write_commands(plan, piece).tobytes()
        for batch in rows.to_batches()
        for piece in pieces(batch)
    )
    with Wire(target_of(work, DATABASES["pump"])) as wire:
        return measured(lambda: pump(wire, memoryview(commands), rows.num_rows))


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
}


def checksum(target: OnlineTarget) -> tuple[int, int]:
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
    return count, total


def show(found: dict[str, list[Measured]], entities: int, rounds: int) -> None:
    """Print each contender's best round, the one the machine disturbed least, and the ratios."""
    best = {
        name: {key: min(m[key] for m in measures) for key in ("wall", "cpu", "server")}
        for name, measures in found.items()
    }
    title = f"{entities:,} entities x {len(COLUMNS)} features; best of {rounds} rounds"
    table = Table(title=title)
    for heading in ("", "wall s", "CPU s", "server CPU s", "rows/s", "wall ratio", "CPU ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, result in best.items():
        table.add_row(
            name,
            f"{result['wall']:.2f}",
            f"{result['cpu']:.2f}",
            f"{result['server']:.2f}",
            f"{entities / result['wall']:,.0f}",
            f"{best['feast']['wall'] / result['wall']:.1f} x",
            f"{best['feast']['cpu'] / result['cpu']:.1f} x",
        )
    Console().print(table)
    share = best["pump"]["wall"] / best["featmill"]["wall"]
    print(
        f"featmill reaches {share:.0%} of the bare socket pump, which stands for redis-cli --pipe"
    )


if __name__ == "__main__":
    main()
