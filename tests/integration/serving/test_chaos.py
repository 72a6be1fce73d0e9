"""A load of reads while bad things are done to the store: every value right and with its status, nothing raised.

Each value carries whose it is and of which generation, so that a mix-up cannot pass for an answer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from featmill.contract.catalog import ServingPolicy
from featmill.online.connection import OnlineTarget
from featmill.serving.async_reader import AsyncFeatureReader
from tests.integration.online.cluster_servers import running_sentinels
from tests.integration.serving.servers import HarassedServer
from tests.integration.serving.stored import NOON, USERS, Stored, service, with_defaults

pytestmark = pytest.mark.redis

ENTITIES = 200
NOBODY = 10_000
TABLE = with_defaults(USERS, city="nowhere")
POLICY = ServingPolicy(
    deadline=timedelta(milliseconds=50),
    stale_for=timedelta(milliseconds=700),
    pause=timedelta(milliseconds=200),
)
#: What a machine that runs other tests too may add to a deadline and to a recovery.
SLACK = 0.5
TASKS = 8


@pytest.fixture
def server(tmp_path):
    own = HarassedServer(tmp_path / "online")
    own.start()
    yield own
    own.end()


def promote(stored, generation):
    """A generation of every entity beside what serves, then the flip."""
    project = f"shop__g{generation}"
    rows = [
        (n, NOON, n * 1_000 + generation, f"{n}:{generation}", float(n)) for n in range(ENTITIES)
    ]
    stored.put(TABLE, *rows, snapshot=f"s{generation}", rows_project=project)
    stored.serve(rows_project=project, release=f"r{generation}")


class Proxy:
    """Between reader and server, with a delay in each direction."""

    def __init__(self, behind):
        self.target = OnlineTarget(socket_path=f"{behind}.proxy")
        self.delay = 0.0
        self._behind = behind

    @asynccontextmanager
    async def running(self):
        async with await asyncio.start_unix_server(self._serve, self.target.socket_path):
            yield self

    async def _serve(self, reader, writer):
        try:
            there = await asyncio.open_unix_connection(self._behind)
        except OSError:
            writer.close()
            return
        pumps = [
            asyncio.ensure_future(self._pump(reader, there[1])),
            asyncio.ensure_future(self._pump(there[0], writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            writer.close()
            there[1].close()

    async def _pump(self, source, sink):
        with suppress(OSError):
            while data := await source.read(1 << 16):
                if self.delay:
                    await asyncio.sleep(self.delay)
                sink.write(data)
                await sink.drain()


class Load:
    """Tasks that read random entities without pause, and judge what they get."""

    def __init__(self, reader):
        self._reader = reader
        self._random = random.Random(7)
        self._is_over = False
        self.generations = {1}
        self.seen: Counter[str | None] = Counter()
        self.slowest = 0.0
        self.good_at = 0.0

    @asynccontextmanager
    async def running(self):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read_on()) for _ in range(TASKS)]
            try:
                yield self
            finally:
                self._is_over = True
                await asyncio.wait(tasks)

    async def _read_on(self):
        while not self._is_over:
            users = [
                self._random.randrange(ENTITIES) for _ in range(self._random.choice((1, 5, 60)))
            ]
            users.append(NOBODY)
            started = time.perf_counter()
            answer = await self._reader.read("ranking", {"user_id": users}, as_of=NOON)
            self.slowest = max(self.slowest, time.perf_counter() - started)
            self._judge(users, answer)
            await asyncio.sleep(0.001)

    def _judge(self, users, answer):
        self.seen[answer.degraded] += 1
        if answer.degraded is None:
            self.good_at = time.perf_counter()
        found = answer.to_dict()
        assert {len(column) for column in found["statuses"].values()} == {len(users)}
        columns = (found["values"]["visits"], found["values"]["city"], *found["statuses"].values())
        for user, visits, city, status, city_status in zip(users, *columns, strict=True):
            if status in ("ok", "stale"):
                generation = visits % 1_000
                assert (visits // 1_000, city) == (user, f"{user}:{generation}")
                # One answer is of one generation, and names it (rule 21).
                assert found["snapshots"] == {"users": f"s{generation}"}
                assert generation in self.generations
                assert status == "ok" or answer.degraded is not None
            else:
                assert (visits, city, city_status) == (None, "nowhere", "default")
                assert status == ("missing" if answer.degraded is None else "default")
                assert user == NOBODY or answer.degraded is not None

    async def recovers(self):
        """Wait for an answer that the store gave, at most a second."""
        since = time.perf_counter()
        while self.good_at < since:
            assert time.perf_counter() - since < 1 + SLACK, self.seen
            await asyncio.sleep(0.01)

    def take(self):
        """What was seen since the last call."""
        seen, self.seen = self.seen, Counter()
        return seen


async def harass(server, seconds):
    """Every fault for some seconds, one after the other, under one load."""
    stored = Stored(server.target, [TABLE], [service("users:visits", "users:city", policy=POLICY)])
    promote(stored, 1)
    proxy = Proxy(server.target.socket_path)
    reached = {}
    async with (
        proxy.running(),
        await AsyncFeatureReader.open(stored.catalog, proxy.target) as reader,
        Load(reader).running() as load,
    ):
        for name, fault in FAULTS.items():
            await asyncio.sleep(0.1)
            load.take()
            await fault(server, stored, (proxy, load), seconds)
            await load.recovers()
            reached[name] = load.take()
    assert load.slowest < POLICY.deadline.total_seconds() + SLACK
    return reached


async def freeze(server, stored, between, seconds):
    with server.frozen():
        await asyncio.sleep(seconds)


async def kill(server, stored, between, seconds):
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(server.start)


async def slow(server, stored, between, seconds):
    between[0].delay = 0.2
    await asyncio.sleep(seconds)
    between[0].delay = 0.0


async def slower(server, stored, between, seconds):
    """Late, and in time: the deadline still holds."""
    between[0].delay = 0.01
    await asyncio.sleep(seconds)
    between[0].delay = 0.0


async def fill_up(server, stored, between, seconds):
    def limit(memory):
        with server.target.client() as client:
            client.config_set("maxmemory", memory)

    await asyncio.to_thread(limit, "1mb")
    await asyncio.sleep(seconds)
    await asyncio.to_thread(limit, "0")


async def empty(server, stored, between, seconds):
    def flush():
        with server.target.client() as client:
            client.flushall()

    between[1].generations.add(2)
    await asyncio.to_thread(flush)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(promote, stored, 2)


async def flip(server, stored, between, seconds):
    """New generations, and the old one's rows removed at once."""

    def remove(generation):
        with server.target.client() as client:
            client.delete(*client.keys(f"*shop__g{generation}"))

    for generation in (3, 4):
        between[1].generations.add(generation)
        await asyncio.to_thread(promote, stored, generation)
        await asyncio.to_thread(remove, generation - 1)
        await asyncio.sleep(seconds / 2)


FAULTS = {
    "frozen": freeze,
    "killed": kill,
    "slow": slow,
    "slower": slower,
    "full": fill_up,
    "empty": empty,
    "flipped": flip,
}


def judged(reached):
    """Each fault came through as it should: the load saw it, and it is not seen where there was none."""
    assert {"deadline", "breaker_open"} <= reached["frozen"].keys()
    assert {"unreachable", "breaker_open"} <= reached["killed"].keys()
    assert {"deadline", "breaker_open"} <= reached["slow"].keys()
    # A full store reads as before; on a busy machine now and then too late.
    assert reached["full"].keys() <= {None, "deadline", "breaker_open"}
    assert "empty" in reached["empty"]
    assert "empty" not in reached["flipped"]
    assert all(seen[None] > 0 for seen in reached.values())


def test_no_wrong_value_whatever_is_done_to_the_store(server):
    judged(asyncio.run(harass(server, 0.4)))


@pytest.mark.slow
def test_no_wrong_value_however_long_it_lasts(server):
    """Longer than stale rows are kept, than a silent connection is trusted, and on uvloop."""
    uvloop = pytest.importorskip("uvloop")

    judged(uvloop.run(harass(server, 4.0)))


@pytest.mark.slow
@pytest.mark.xdist_group("sentinel")
def test_no_wrong_value_through_a_failover(tmp_path):
    with running_sentinels(tmp_path) as group:
        reached = asyncio.run(fail_over(group))

    assert reached[None] > 0
    assert reached.keys() <= {None, "unreachable", "deadline", "breaker_open"}
    assert len(reached) > 1


async def fail_over(group):
    stored = Stored(group.target, [TABLE], [service("users:visits", "users:city", policy=POLICY)])
    promote(stored, 1)
    old = group.primary()
    with old.client() as client:
        assert client.wait(1, 5_000) == 1
    async with (
        await AsyncFeatureReader.open(stored.catalog, stored.target) as reader,
        Load(reader).running() as load,
    ):
        await asyncio.sleep(0.3)
        await asyncio.to_thread(old.kill)
        await asyncio.to_thread(group.wait_for_failover, old)
        await load.recovers()
        load.generations.add(2)
        await asyncio.to_thread(promote, stored, 2)
        await asyncio.sleep(0.3)
    return load.take()
