"""Reading from a cluster and through sentinels: every row from its node, and the new primary after a failover."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest

from featmill.contract.catalog import ServingPolicy
from featmill.serving.async_reader import AsyncFeatureReader
from featmill.serving.reader import FeatureReader
from tests.integration.online.cluster_servers import running_cluster, running_sentinels
from tests.integration.serving.stored import (
    NOON,
    PRODUCTS,
    USERS,
    Stored,
    service,
    values,
    with_defaults,
    words,
)

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("cluster")]

POLICY = ServingPolicy(deadline=timedelta(milliseconds=100), pause=timedelta(milliseconds=200))
#: What a machine that runs other tests too may add.
SLACK = 0.5
TABLE = with_defaults(USERS, city="nowhere")
EVERYBODY = list(range(300))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@contextmanager
def blocking(stored):
    with FeatureReader.open(stored.catalog, stored.target) as reader:
        yield reader.read


@contextmanager
def asynchronous(stored):
    with asyncio.Runner() as runner:
        reader = runner.run(AsyncFeatureReader.open(stored.catalog, stored.target))
        yield lambda *given, **named: runner.run(reader.read(*given, **named))
        runner.run(reader.close())


@pytest.fixture(params=[blocking, asynchronous], ids=["blocking", "asynchronous"])
def opened(request):
    return request.param


def filled(target, policy=POLICY):
    stored = Stored(
        target,
        [TABLE, PRODUCTS],
        [service("users:visits", "users:city", "products:price", policy=policy)],
    )
    stored.put(TABLE, *((n, NOON, n, f"c{n}", 0.5) for n in EVERYBODY))
    stored.put(PRODUCTS, *((n, NOON, n / 4) for n in EVERYBODY))
    stored.serve()
    return stored


def is_right(answer):
    """Every row is its own entity's, in order."""
    assert answer.degraded is None
    assert values(answer) == {
        "visits": [*EVERYBODY, None],
        "city": [*(f"c{n}" for n in EVERYBODY), "nowhere"],
        "price": [n / 4 for n in EVERYBODY] + [0.25],
    }
    assert words(answer)["visits"] == ["ok"] * 300 + ["missing"]


ALL = {"user_id": [*EVERYBODY, 9_999], "product_id": [*EVERYBODY, 1]}


def test_rows_come_from_their_nodes(cluster, opened):
    cluster.flush()
    stored = filled(cluster.target)
    with opened(stored) as read:
        is_right(read("ranking", ALL, as_of=NOON))
        is_right(read("ranking", ALL, as_of=NOON))
        alone = read("ranking", {"user_id": 7, "product_id": 8}, as_of=NOON)

    assert values(alone) == {"visits": [7], "city": ["c7"], "price": [2.0]}


def test_slots_that_move_are_followed(cluster, opened):
    cluster.flush()
    stored = filled(cluster.target, ServingPolicy(deadline=timedelta(seconds=5)))
    with opened(stored) as read:
        is_right(read("ranking", ALL, as_of=NOON))
        source, goal = cluster.primaries[0], cluster.primaries[1]
        if cluster.owner(0) is not source:
            source, goal = goal, source
        cluster.move_slots(0, 2_000, source, goal)

        is_right(read("ranking", ALL, as_of=NOON))


def test_a_node_that_is_silent_makes_the_answer_late_and_no_more(cluster, opened):
    cluster.flush()
    stored = filled(cluster.target)
    with opened(stored) as read:
        is_right(read("ranking", ALL, as_of=NOON))
        silent = cluster.primaries[2]
        silent.freeze()
        started = time.perf_counter()
        try:
            answer = read("ranking", ALL, as_of=NOON)
            took = time.perf_counter() - started
        finally:
            silent.thaw()
        until = time.perf_counter() + 5
        while read("ranking", ALL, as_of=NOON).degraded is not None:
            assert time.perf_counter() < until
            time.sleep(0.02)

        is_right(read("ranking", ALL, as_of=NOON))

    assert answer.degraded == "deadline"
    assert set(words(answer)["visits"]) == {"default"}
    assert took < POLICY.deadline.total_seconds() + SLACK


@pytest.mark.parametrize("fault", ["killed", pytest.param("frozen", marks=pytest.mark.slow)])
def test_the_new_primary_is_read_within_a_second_of_the_failover(tmp_path, opened, fault):
    with running_sentinels(tmp_path) as group:
        stored = filled(group.target)
        old = group.primary()
        with old.client() as client:
            assert client.wait(1, 5_000) == 1
        with opened(stored) as read:
            is_right(read("ranking", ALL, as_of=NOON))
            old.kill() if fault == "killed" else old.freeze()
            reasons = {read("ranking", ALL, as_of=NOON).degraded for _ in range(12)}
            group.wait_for_failover(old)
            since = time.perf_counter()
            while read("ranking", ALL, as_of=NOON).degraded is not None:
                assert time.perf_counter() - since < 1 + SLACK
                time.sleep(0.01)

            is_right(read("ranking", ALL, as_of=NOON))

    assert reasons <= {"deadline", "unreachable", "breaker_open"}
