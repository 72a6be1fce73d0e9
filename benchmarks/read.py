"""Reading features in process: ours, blocking and not, against Feast's SDK and a bare HMGET of redis-py.

    python -m benchmarks.read --size m

Rows are written once, in the bytes that all of them read, into one embedded Valkey. Each contender runs in a process of
its own, warms up, and reads entities drawn at random, one request after the other. An answer is Python values: what
`read` returns of ours, `to_dict()` of Feast's, the stored bytes, undecoded, of redis-py. The same requests give the
same checksum, or the answer is WRONG. `wall` is the median and `CPU` the mean of a request, times a thousand.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.harness import (
    QUIET,
    Measured,
    Outcome,
    check_goals,
    judged,
    peak_mib,
    report,
    run_rounds,
    show,
)
from benchmarks.made_up import feature_table, rows
from featmill.contract.catalog import (
    Catalog,
    FeatureRef,
    FeatureService,
    FeatureTable,
    ServingPolicy,
)
from featmill.online.codec import pieces, write_commands
from featmill.online.connection import OnlineTarget
from featmill.online.pipeline import Pipeline
from featmill.online.plan import plan_view
from featmill.online.server import EmbeddedServer
from featmill.online.serving_state import PublishMode, ServedView, ServingState, put_state

MODULE = "benchmarks.read"
PROJECT = "bench"
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
#: Size -> entities stored, a case's requests, rounds.
SIZES = {"s": (2_000, 200, 1), "m": (20_000, 1_000, 3), "l": (100_000, 3_000, 3)}
CONTENDERS = ("featmill", "async", "feast", "hmget")
SECONDS = 300.0
#: Not the deadline is measured.
PATIENT = ServingPolicy(deadline=timedelta(seconds=30))


@dataclass(frozen=True, slots=True)
class Case:
    """So many entities a request, of so many features; of a case with many entities fewer requests are made."""

    entities: int
    features: int

    @property
    def name(self) -> str:
        """Such as 100x50."""
        return f"{self.entities}x{self.features}"

    @property
    def view(self) -> str:
        """The view it reads."""
        return f"user_{self.features}"

    def requests(self, most: int) -> list[list[int]]:
        """The entities of each request, the same for every contender."""
        count = max(20, most // self.entities**0.5)
        random = np.random.default_rng(11)
        return [
            random.integers(0, self.entities * 20, self.entities).tolist()
            for _ in range(int(count))
        ]


CASES = (Case(1, 20), Case(100, 50))


def main() -> int:
    """Print every contender's measures and the goals; exit code 1 where an answer is wrong or a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    parser.add_argument("--rounds", type=int, help="the best of so many counts")
    parser.add_argument("--only", help=f"some of: {','.join(CONTENDERS)}")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender is not None:
        report(_run(given.contender, given.work))
        return 0
    entities, requests, rounds = SIZES[given.size]
    only = given.only.split(",") if given.only else CONTENDERS
    with tempfile.TemporaryDirectory(prefix="featmill-bench-") as folder:
        work = Path(folder)
        server = EmbeddedServer(work / "online")
        server.start()
        try:
            _prepare(work, server.target, (entities, requests), with_feast="feast" in only)
            return 0 if _all_cases(work, given.size, only, given.rounds or rounds) else 1
        finally:
            server.stop()


def _all_cases(work: Path, size: str, only: Sequence[str], rounds: int) -> bool:
    outcomes: dict[str, Outcome] = {}
    for case in CASES:
        names = [f"{case.name}: {one}" for one in only]
        found = run_rounds(MODULE, names, work, rounds=rounds, seconds=SECONDS)
        wanted = found[f"{case.name}: featmill"].best
        found = judged(found, "" if wanted is None else str(wanted.checksum))
        show(f"{case.entities} entities x {case.features} features", _scaled(found), names[-1])
        for name in names:
            said = work / f"{name.replace(' ', '')}.json"
            if said.exists():
                p50, p99 = json.loads(said.read_text())
                print(f"{name}: p50 {p50 * 1e6:,.0f} us, p99 {p99 * 1e6:,.0f} us")
        outcomes |= found
    reached = check_goals("read", size, outcomes)
    return reached and all(one.verdict == "ok" for one in outcomes.values())


def _scaled(found: dict[str, Outcome]) -> dict[str, Outcome]:
    """A thousand requests: the table has hundredths of seconds."""
    return {
        name: Outcome(
            name,
            None
            if one.best is None
            else Measured(one.best.wall * 1e3, one.best.cpu * 1e3, one.best.peak_mib),
            one.verdict,
        )
        for name, one in found.items()
    }


def _prepare(work: Path, target: OnlineTarget, size: tuple[int, int], *, with_feast: bool) -> None:
    entities, requests = size
    (work / "requests").write_text(str(requests))
    for case in CASES:
        plan = plan_view(PROJECT, _table(case))
        with Pipeline(target, window=10_000) as pipeline:
            for piece in pieces(_rows(case, entities)):
                pipeline.send(write_commands(plan, piece), piece.num_rows)
            pipeline.finish()
    views = {case.view: ServedView(snapshot_id="s1", rows=entities) for case in CASES}
    state = ServingState(
        epoch=1,
        mode=PublishMode.IN_PLACE,
        rows_project=PROJECT,
        release_id="r1",
        as_of=AS_OF,
        flipped_at=AS_OF,
        is_complete=True,
        views=views,
    )
    put_state(target, PROJECT, state)
    if with_feast:
        _feast_store(work).apply(_feast_objects(work))


def _kinds(case: Case) -> dict[str, str]:
    return {f"f{n}": ("BIGINT", "DOUBLE", "VARCHAR")[n % 10 % 3] for n in range(case.features)}


def _table(case: Case) -> FeatureTable:
    return feature_table(case.view, _kinds(case))


def _rows(case: Case, entities: int) -> pa.RecordBatch:
    made = rows(_kinds(case), np.arange(entities), AS_OF)
    return made.combine_chunks().to_batches()[0]


def _catalog() -> Catalog:
    services = tuple(
        FeatureService(
            name=case.view,
            description="",
            owner=None,
            features=tuple(FeatureRef(view=case.view, feature=name) for name in _kinds(case)),
            policy=PATIENT,
        )
        for case in CASES
    )
    tables = tuple(_table(case) for case in CASES)
    return Catalog(project=PROJECT, tables=tables, services=services, sources=())


Columns = dict[str, Sequence[Any]]


def _run(name: str, work: Path) -> Measured:
    """One contender of one case, in this process."""
    of_case, _, contender = name.partition(": ")
    case = next(case for case in CASES if case.name == of_case)
    requests = case.requests(int((work / "requests").read_text()))
    target = OnlineTarget(socket_path=EmbeddedServer(work / "online").target.socket_path)
    read, shown = {"featmill": _featmill, "feast": _feast, "hmget": _hmget, "async": _no_wait}[
        contender
    ](case, target, work)
    if contender == "async":
        times, cpu, checksum = asyncio.run(_timed_async(read, requests, shown))
    else:
        times, cpu, checksum = _timed(read, requests, shown)
    times.sort()
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    (work / f"{name.replace(' ', '')}.json").write_text(json.dumps([p50, p99]))
    return Measured(p50, cpu / len(requests), peak_mib(), checksum)


def _timed(
    read: Callable[[list[int]], Any],
    requests: list[list[int]],
    shown: Callable[[Any], Columns] | None,
) -> tuple[list[float], float, str | None]:
    for request in requests[:20]:
        read(request)
    times, began = [], time.process_time()
    for request in requests:
        started = time.perf_counter()
        read(request)
        times.append(time.perf_counter() - started)
    spent = time.process_time() - began
    return (
        times,
        spent,
        None if shown is None else _checksum([shown(read(r)) for r in requests[:50]]),
    )


async def _timed_async(
    opening: Callable[[], Awaitable[Callable[[list[int]], Awaitable[Any]]]],
    requests: list[list[int]],
    shown: Callable[[Any], Columns],
) -> tuple[list[float], float, str | None]:
    read = await opening()
    for request in requests[:20]:
        await read(request)
    times, began = [], time.process_time()
    for request in requests:
        started = time.perf_counter()
        await read(request)
        times.append(time.perf_counter() - started)
    spent = time.process_time() - began
    return times, spent, _checksum([shown(await read(request)) for request in requests[:50]])


def _checksum(answers: Sequence[Columns]) -> str:
    said = repr([sorted((name, list(column)) for name, column in one.items()) for one in answers])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _values(answer: Any) -> Columns:  # noqa: ANN401 - FeatureVectors, imported by its contender only
    return dict(zip(answer.names, answer.values, strict=True))


def _featmill(case: Case, target: OnlineTarget, _work: Path) -> tuple[Any, Any]:
    from featmill.serving.reader import FeatureReader

    reader = FeatureReader.open(_catalog(), target)
    return lambda users: reader.read(case.view, {"user_id": users}), _values


def _no_wait(case: Case, target: OnlineTarget, _work: Path) -> tuple[Any, Any]:
    from featmill.serving.async_reader import AsyncFeatureReader

    async def opening() -> Callable[[list[int]], Awaitable[Any]]:
        reader = await AsyncFeatureReader.open(_catalog(), target)
        return lambda users: reader.read(case.view, {"user_id": users})

    return opening, _values


def _hmget(case: Case, target: OnlineTarget, _work: Path) -> tuple[Any, Any]:
    """The same keys and fields with redis-py, one pipeline a request; nothing is decoded."""
    from featmill.serving.asked import ask
    from featmill.serving.plan import ServicePlan

    plan = ServicePlan.compiled(_catalog(), case.view)
    fields = list(plan.groups[0].fields)
    client: Any = target.client()
    suffix = PROJECT.encode()
    keys = {
        user: ask(plan, {"user_id": user}, None).entities[0].stems[0] + suffix
        for user in range(case.entities * 20)
    }

    def read(users: list[int]) -> Any:  # noqa: ANN401 - one row's bytes, or many
        if len(users) == 1:
            return client.hmget(keys[users[0]], fields)
        pipeline = client.pipeline(transaction=False)
        for user in users:
            pipeline.hmget(keys[user], fields)
        return pipeline.execute()

    return read, None


def _feast(case: Case, _target: OnlineTarget, work: Path) -> tuple[Any, Any]:
    os.environ.update(QUIET)
    warnings.simplefilter("ignore")
    store = _feast_store(work)
    features = [f"{case.view}:{name}" for name in _kinds(case)]

    def read(users: list[int]) -> dict[str, Any]:
        rows = [{"user_id": user} for user in users]
        found: dict[str, Any] = store.get_online_features(features, rows).to_dict()
        return found

    return read, lambda found: {name: found[name] for name in _kinds(case)}


def _feast_store(work: Path) -> Any:  # noqa: ANN401 - Feast is imported by its contender only
    warnings.simplefilter("ignore")
    from feast import FeatureStore, RepoConfig

    target = OnlineTarget(socket_path=EmbeddedServer(work / "online").target.socket_path)
    return FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            # Its registry is asked once a minute at most, as a server would have it.
            registry={"path": str(work / "registry.db"), "cache_ttl_seconds": 3600},
            online_store={
                "type": "redis",
                "connection_string": target.feast_connection_string(),
            },
            entity_key_serialization_version=3,
        )
    )


def _feast_objects(work: Path) -> list[Any]:
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, Int64, String

    types = {"BIGINT": Int64, "DOUBLE": Float64, "VARCHAR": String}
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    views = [
        FeatureView(
            name=case.view,
            entities=[user],
            schema=[
                Field(name="user_id", dtype=Int64),
                *(Field(name=name, dtype=types[kind]) for name, kind in _kinds(case).items()),
            ],
            ttl=timedelta(days=0),
            source=FileSource(
                name=f"{case.view}_source",
                path=str(work / "nothing.parquet"),
                timestamp_field="feature_at",
            ),
        )
        for case in CASES
    ]
    return [user, *views]


if __name__ == "__main__":
    raise SystemExit(main())
