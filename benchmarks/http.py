"""Requests per server CPU second over HTTP, ours against `feast serve`, over the same store and the same rows.

    python -m benchmarks.http --size m

Servers run one after the other, each in a process of its own, asked for one entity and for a hundred, 35 features each,
over kept-alive connections; CPU is the server's own process and its children's, the store's and the load's are not in
it. `bare` is without keys, metrics and access log; `full` is with all three. Then ours alone, held to one core, gets
2,000 requests a second from an open loop on another core; a latency counts from when its request was due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import psutil
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.harness import QUIET, REPOSITORY, Measured, Outcome, check_goals
from benchmarks.http_load import Load, closed_loop, open_loop, request_bytes
from benchmarks.made_up import feature_table, rows
from exporters.redis import ExportJob, export_view
from featmill.contract.catalog import (
    Catalog,
    FeatureRef,
    FeatureService,
    FeatureTable,
    ServingPolicy,
)
from featmill.online.connection import OnlineTarget
from featmill.online.server import EmbeddedServer
from featmill.online.serving_state import PublishMode, ServedView, ServingState, put_state
from featmill.serving import api_keys
from featmill.settings import Settings

PROJECT, VIEW, SERVICE = "bench", "scores", "scores_v1"
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
ENTITIES = 10_000
COLUMNS = {f"count_{i}": "BIGINT" for i in range(15)}
COLUMNS |= {f"rate_{i}": "DOUBLE" for i in range(15)}
COLUMNS |= {f"name_{i}": "VARCHAR" for i in range(5)}
CONNECTIONS = 8
RATE = 2_000.0
P99 = 0.010


@dataclass(frozen=True, slots=True)
class Size:
    """How many requests for one entity and for a hundred, rounds, and seconds of the open loop."""

    ones: int
    hundreds: int
    rounds: int
    seconds: float


SIZES = {
    "s": Size(500, 100, 1, 2.0),
    "m": Size(3_000, 300, 3, 10.0),
    "l": Size(20_000, 2_000, 3, 30.0),
}
CONTENDERS = ("feast", "featmill bare", "featmill full")
CASES = {"1x35": 1, "100x35": 100}


def main() -> int:
    """Run as the parent, or as one server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="m")
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders, by commas")
    parser.add_argument("--contender", choices=CONTENDERS[1:], help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender is not None:
        serve(given.work, given.port, is_full=given.contender == "featmill full")
        return 0
    with tempfile.TemporaryDirectory(prefix="featmill-bench-") as folder:
        return compare(Path(folder), given.size, given.only.split(","))


def compare(work: Path, size: str, names: list[str]) -> int:
    """Measure every contender, print what came out and how the goals fare; 1 where something was wrong."""
    store = EmbeddedServer(work / "online")
    store.start()
    try:
        publish(store.target)
        found, answers = {}, {}
        for name in names:
            with server(work, name) as (process, port, headers):
                for case, entities in CASES.items():
                    request = asking(name, entities, headers)
                    measured, load = cost(process, port, request, entities, SIZES[size])
                    found[f"{name} {case}"] = measured
                    answers[f"{name} {case}"] = values(name, load.body)
        if "featmill bare" in names:
            found["featmill p99"] = paced(work, SIZES[size].seconds)
            found["10 ms"] = Measured(P99, P99, 0)
    finally:
        store.stop()
    outcomes = {name: Outcome(name, one, judge(name, answers)) for name, one in found.items()}
    show(outcomes, size)
    is_right = all(one.verdict == "ok" for one in outcomes.values())
    return 0 if check_goals("http", size, outcomes) and is_right else 1


def judge(name: str, answers: Mapping[str, Mapping[str, list[object]]]) -> str:
    """`WRONG` where values differ from those that were published."""
    if name not in answers:
        return "ok"
    rows = made_up().slice(0, CASES[name.rpartition(" ")[2]]).select(list(COLUMNS)).to_pydict()
    return "ok" if answers[name] == rows else "WRONG"


def cost(
    process: psutil.Process, port: int, request: bytes, entities: int, size: Size
) -> tuple[Measured, Load]:
    """What one request costs the server, in CPU seconds; of several rounds the least disturbed counts."""
    requests = size.ones if entities == 1 else size.hundreds
    asyncio.run(closed_loop(port, request, max(requests // 10, 50), CONNECTIONS))
    rounds = []
    for _ in range(size.rounds):
        before, started = cpu_of(process), time.perf_counter()
        load = asyncio.run(closed_loop(port, request, requests, CONNECTIONS))
        if load.refused:
            raise SystemExit(f"{load.refused} of {requests} were refused: {load.body[:500]!r}")
        wall = time.perf_counter() - started
        rounds.append((cpu_of(process) - before, wall))
    cpu, wall = min(rounds)
    peak = process.memory_info().rss / 2**20
    return Measured(wall / requests, cpu / requests, peak), load


def paced(work: Path, seconds: float) -> Measured:
    """The p99 of ours at the fixed rate: one worker on one core, store and load on the others."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    with server(work, "featmill bare") as (process, port, headers):
        if len(cores) > 1:
            process.cpu_affinity(cores[:1])
            os.sched_setaffinity(0, cores[1:])
        try:
            request = asking("featmill bare", 1, headers)
            asyncio.run(open_loop(port, request, RATE, 1.0))
            load = asyncio.run(open_loop(port, request, RATE, seconds))
        finally:
            if len(cores) > 1:
                os.sched_setaffinity(0, cores)
    p50, p99, p999 = (load.percentile(share) for share in (0.5, 0.99, 0.999))
    print(
        f"at {RATE:,.0f} requests/s for {seconds:g} s: {len(load.latencies):,} answers, {load.refused} refused, "
        f"p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, p99.9 {p999 * 1e3:.2f} ms"
    )
    return Measured(p99, p99, 0)


def asking(name: str, entities: int, headers: Mapping[str, str]) -> bytes:
    """The request that a contender understands."""
    users = list(range(entities))
    if name == "feast":
        body = {"feature_service": SERVICE, "entities": {"user_id": users}}
        return request_bytes("/get-online-features", json.dumps(body).encode())
    body = {"service": SERVICE, "keys": {"user_id": users}}
    return request_bytes("/features", json.dumps(body).encode(), dict(headers))


def values(name: str, body: bytes) -> dict[str, list[object]]:
    """The values of an answer by feature."""
    found = json.loads(body)
    if name != "feast":
        return {feature: found["values"][feature] for feature in COLUMNS}
    names = found["metadata"]["feature_names"]
    columns = dict(zip(names, (one["values"] for one in found["results"]), strict=True))
    return {feature: columns[feature] for feature in COLUMNS}


@contextmanager
def server(work: Path, name: str) -> Iterator[tuple[psutil.Process, int, dict[str, str]]]:
    """A contender's server: its process, its port, and the headers it wants."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    headers = {}
    if name == "feast":
        repository = feast_repository(work)
        command = [str(Path(sys.executable).with_name("feast")), "-c", str(repository), "serve"]
        command += ["--port", str(port), "--no-access-log", "--max-requests", "100000000"]
    else:
        command = [sys.executable, "-m", "benchmarks.http", "--contender", name]
        command += ["--work", str(work), "--port", str(port)]
        keys = Settings(home=work / "home").api_keys
        if name == "featmill full":
            headers = {"Authorization": f"Bearer {api_keys.create(keys, f'bench {port}')[1]}"}
    with (
        (work / "log").open("wb") as log,
        subprocess.Popen(
            command, cwd=REPOSITORY, env=os.environ | QUIET, stdout=log, stderr=log
        ) as process,
    ):
        watched = psutil.Process(process.pid)
        try:
            wait_for(port, process, work / "log")
            yield watched, port, headers
        finally:
            family = [*watched.children(recursive=True), watched]
            process.terminate()
            _, alive = psutil.wait_procs(family, timeout=15)
            for left in alive:
                left.kill()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server listens.

    Raises:
        SystemExit: it ended, or did not within a minute and a half.
    """
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(1.0)
                return
        time.sleep(0.1)
    raise SystemExit(f"the server did not start: {log.read_text()[-2_000:]}")


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process and its children so far."""
    times = [one.cpu_times() for one in [process, *process.children(recursive=True)]]
    return sum(one.user + one.system for one in times)


def serve(work: Path, port: int, *, is_full: bool) -> None:
    """Be our server until a signal comes."""
    import uvicorn

    from featmill.serving.http import request_log
    from featmill.serving.http.options import ServeOptions
    from featmill.serving.http.server import features_app
    from featmill.serving.http.wire import FeaturesProtocol

    options = ServeOptions(
        project_dir=work, auth=is_full, metrics=is_full, access_log=is_full, as_of=AS_OF
    )
    settings = Settings(home=work / "home", redis_url=f"unix://{target_of(work).socket_path}")
    uvicorn.run(
        features_app(options, settings, catalog()),
        port=port,
        loop="uvloop",
        http=FeaturesProtocol,
        lifespan="on",
        log_config=request_log.of_uvicorn(),
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )


def target_of(work: Path) -> OnlineTarget:
    """The benchmark's store."""
    return EmbeddedServer(work / "online").target


def publish(target: OnlineTarget) -> None:
    """Put the rows online, and say that they serve."""
    rows = duckdb.from_arrow(made_up()).order("user_id").to_arrow_reader(16_384)
    job = ExportJob(PROJECT, table(), "s1", "r1", AS_OF, ENTITIES)
    export_view(target, job, rows)
    state = ServingState(
        epoch=1,
        mode=PublishMode.IN_PLACE,
        rows_project=PROJECT,
        release_id="r1",
        as_of=AS_OF,
        flipped_at=AS_OF,
        is_complete=True,
        views={VIEW: ServedView(snapshot_id="s1", rows=ENTITIES)},
    )
    put_state(target, PROJECT, state)


def made_up() -> pa.Table:
    """Rows of three types, without NULLs."""
    return rows(COLUMNS, np.arange(ENTITIES), AS_OF - timedelta(hours=1), nulls=0.0)


def table() -> FeatureTable:
    """The feature table of the rows."""
    return feature_table(VIEW, COLUMNS)


def catalog() -> Catalog:
    """One service of all features."""
    refs = tuple(FeatureRef(view=VIEW, feature=name) for name in COLUMNS)
    # A deadline of 25 ms would be answered with defaults on a busy machine: another thing than what is compared.
    patient = ServingPolicy(deadline=timedelta(seconds=5))
    service = FeatureService(
        name=SERVICE, description="", owner=None, features=refs, policy=patient
    )
    return Catalog(project=PROJECT, tables=(table(),), services=(service,), sources=())


def feast_repository(work: Path) -> Path:
    """A Feast repository over the same rows."""
    warnings.simplefilter("ignore")
    from feast import (
        Entity,
        FeatureService,
        FeatureStore,
        FeatureView,
        Field,
        FileSource,
        RepoConfig,
        ValueType,
    )
    from feast.types import Float64, Int64, String

    folder = work / "feast"
    folder.mkdir(exist_ok=True)
    string = target_of(work).feast_connection_string()
    settings = {
        "project": PROJECT,
        "provider": "local",
        "registry": str(folder / "registry.db"),
        "online_store": {"type": "redis", "connection_string": string},
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(json.dumps(settings))
    types = {"BIGINT": Int64, "DOUBLE": Float64, "VARCHAR": String}
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    source = FileSource(name="rows", path=str(work / "rows.parquet"), timestamp_field="feature_at")
    pa.parquet.write_table(made_up().slice(0, 1), work / "rows.parquet")
    schema = [Field(name="user_id", dtype=Int64)]
    schema += [Field(name=name, dtype=types[kind]) for name, kind in COLUMNS.items()]
    view = FeatureView(name=VIEW, entities=[user], schema=schema, ttl=timedelta(0), source=source)
    store = FeatureStore(config=RepoConfig(**settings))
    store.apply([user, view, FeatureService(name=SERVICE, features=[view])])
    return folder


def show(outcomes: Mapping[str, Outcome], size: str) -> None:
    """Print what a request costs, and how many times as dear Feast's is."""
    title = f"one request, server's cost, size {size}; {CONNECTIONS} connections"
    shown = Table(title=title, title_justify="left")
    for heading in ("", "answer", "CPU ms", "per CPU s", "wall ms", "MiB", "feast's CPU"):
        shown.add_column(heading, justify="left" if heading in ("", "answer") else "right")
    for name, one in outcomes.items():
        case = name.rpartition(" ")[2]
        if case not in CASES or one.best is None:
            continue
        feast = outcomes.get(f"feast {case}")
        ratio = f"{feast.best.cpu / one.best.cpu:.1f} x" if feast and feast.best else ""
        cells = [
            f"{one.best.cpu * 1e3:.3f}",
            f"{1 / one.best.cpu:,.0f}",
            f"{one.best.wall * 1e3:.3f}",
        ]
        shown.add_row(name, one.verdict, *cells, f"{one.best.peak_mib:,.0f}", ratio)
    Console(width=120).print(shown)


if __name__ == "__main__":
    sys.exit(main())
