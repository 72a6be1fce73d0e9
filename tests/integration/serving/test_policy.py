"""How a service degrades: deadline, breaker, cache, stale rows, defaults; and that every answer says so (rule 18)."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from featmill.contract.catalog import RequestFeature, ServingPolicy
from featmill.contract.types import parse_type
from featmill.online.connection import OnlineTarget
from featmill.serving.async_reader import AsyncFeatureReader
from featmill.serving.reader import FeatureReader
from tests.integration.serving.servers import HarassedServer
from tests.integration.serving.stored import (
    HOUR,
    NOON,
    ORDERS,
    USERS,
    Stored,
    service,
    values,
    with_defaults,
    with_ttl,
    words,
)

pytestmark = pytest.mark.redis

SECOND = timedelta(seconds=1)
DEADLINE = timedelta(milliseconds=60)
#: What a busy machine may add to a deadline.
SLACK = 0.25
TABLE = with_ttl(with_defaults(USERS, city="nowhere"), HOUR)
FEATURES = ("users:visits", "users:city")


@pytest.fixture
def server(tmp_path):
    """A server of this test's own."""
    own = HarassedServer(tmp_path / "online")
    own.start()
    yield own
    own.end()


class Reading:
    """Either reader, called in the same way."""

    def __init__(self, stored, runner):
        self._runner = runner
        self.stored = stored
        opening: Any = FeatureReader if runner is None else AsyncFeatureReader
        self.reader: Any = self._done(opening.open(stored.catalog, stored.target))

    def _done(self, result):
        return result if self._runner is None else self._runner.run(result)

    def read(self, users, *, after=timedelta(0), name="ranking"):
        return self._done(self.reader.read(name, {"user_id": users}, as_of=NOON + after))

    def timed(self, users, **more):
        started = time.perf_counter()
        answer = self.read(users, **more)
        return answer, time.perf_counter() - started

    def together(self, count, users):
        """The answers of many reads at once; one after the other where the reader blocks."""
        runner = self._runner
        if runner is None:
            return [self.read(users) for _ in range(count)]

        async def all_of_them():
            keys = {"user_id": users}
            reads = (self.reader.read("ranking", keys, as_of=NOON) for _ in range(count))
            return await asyncio.gather(*reads)

        return runner.run(all_of_them())

    def close(self):
        self._done(self.reader.close())


@pytest.fixture(params=["blocking", "asynchronous"])
def opened(request, server):
    """A function that fills the store and opens a reader of a policy."""
    runner = asyncio.Runner() if request.param == "asynchronous" else None
    readers = []

    def make(table=TABLE, **declared):
        given = {"deadline": DEADLINE, "jitter": 0.0} | declared
        policy = ServingPolicy.model_validate(given)
        stored = Stored(server.target, [table], [service(*FEATURES, policy=policy)])
        stored.put(table, (1, NOON, 5, "Bonn", 0.5), (2, NOON, 6, "Kiel", 0.5))
        stored.serve()
        readers.append(Reading(stored, runner))
        return readers[-1]

    yield make
    server.resume()
    for reader in readers:
        reader.close()
    if runner is not None:
        runner.close()


def test_an_answer_is_due_within_the_deadline_whatever_the_store_does(opened, server):
    """Nothing is known: declared defaults, possibly none, and every status says so."""
    reading = opened()
    with server.frozen():
        answer, took = reading.timed([1, 3])

    assert took < DEADLINE.total_seconds() + SLACK
    assert (answer.degraded, values(answer)) == (
        "deadline",
        {"visits": [None, None], "city": ["nowhere", "nowhere"]},
    )
    assert words(answer) == {"visits": ["default"] * 2, "city": ["default"] * 2}
    assert [view.snapshot for view in answer.views] == [None]
    assert answer.to_dict()["ages"] == {"users": [None, None]}


def test_a_late_reply_is_nobody_elses(opened, server):
    reading = opened(failures=1_000)
    with server.frozen():
        late = reading.together(3, [1])
    answers = [reading.read([2]) for _ in range(3)]

    assert {answer.degraded for answer in late} == {"deadline"}
    assert [answer.degraded for answer in answers[1:]] == [None, None]
    assert {tuple(values(a)["visits"]) for a in answers if a.degraded is None} == {(6,)}


def test_after_failures_in_a_row_the_store_is_left_alone_and_then_tried_again(opened, server):
    reading = opened(failures=2, pause=timedelta(milliseconds=200))
    with server.frozen():
        reasons = [reading.read([1]).degraded for _ in range(3)]
        answer, took = reading.timed([1])
        assert reading.reader.health().breakers == {"ranking": "open"}
        assert reading.reader.health().reachable is False

    assert reasons == ["deadline", "deadline", "breaker_open"]
    assert (answer.degraded, took < DEADLINE.total_seconds()) == ("breaker_open", True)
    time.sleep(0.25)
    assert [reading.read([1]).degraded for _ in range(2)] == [None, None]
    assert reading.reader.health().breakers == {"ranking": "closed"}


def test_a_restarted_server_is_read_within_a_second(opened, server):
    reading = opened(failures=2, pause=timedelta(milliseconds=200))
    server.kill()
    reasons = {reading.read([1]).degraded for _ in range(5)}
    server.start()
    back = time.perf_counter()
    while reading.read([1]).degraded is not None:
        assert time.perf_counter() - back < 1 + SLACK
        time.sleep(0.01)

    assert reasons <= {"unreachable", "breaker_open"}
    assert values(reading.read([1])) == {"visits": [5], "city": ["Bonn"]}


def test_a_reader_opens_while_the_store_is_down(opened, server):
    target = OnlineTarget(socket_path=f"{server.target.socket_path}.none")
    reading = opened()
    reading.stored.target = target
    away = Reading(reading.stored, reading._runner)
    answer, took = away.timed([1])
    away.close()

    assert (answer.degraded, values(answer)["city"]) == ("unreachable", ["nowhere"])
    assert took < DEADLINE.total_seconds() + SLACK
    assert str(server.target.socket_path) in away.reader.health().problem


def test_a_store_that_no_longer_holds_what_was_promoted_says_so(opened, server):
    """Restarted empty: nobody is `missing`, nobody was looked up."""
    reading = opened(failures=1)
    reading.read([1])
    with server.target.client() as client:
        client.flushall()

    answers = [reading.read([1, 3]) for _ in range(3)]

    for answer in answers:
        assert answer.degraded == "empty"
        assert values(answer) == {"visits": [None, None], "city": ["nowhere", "nowhere"]}
        assert words(answer) == {"visits": ["default"] * 2, "city": ["default"] * 2}
    reading.stored.put(TABLE, (1, NOON, 7, "Bonn", 0.5))
    reading.stored.serve()
    assert values(reading.read([1])) == {"visits": [7], "city": ["Bonn"]}


def test_a_cached_row_is_answered_as_it_was(opened, server):
    reading = opened(cache_ttl=60 * SECOND, negative_ttl=60 * SECOND)
    reading.read([1, 3])
    with server.frozen():
        answer = reading.read([3, 1])

    assert (answer.degraded, values(answer)["visits"]) == (None, [None, 5])
    assert words(answer) == {"visits": ["missing", "ok"], "city": ["default", "ok"]}
    assert (answer.views[0].snapshot, answer.views[0].release) == ("s1", "r1")


def test_only_what_is_not_cached_is_read(opened, server):
    reading = opened(cache_ttl=60 * SECOND)
    reading.read([1])
    reading.stored.put(TABLE, (1, NOON, 50, "Bonn", 0.5), (2, NOON, 60, "Kiel", 0.5))

    answer = reading.read([2, 1, 2, 3])

    assert values(answer)["visits"] == [60, 5, 60, None]


def test_a_view_that_had_no_row_is_looked_for_again_though_another_had_one(store):
    """An entity that is there in part is kept as long as one that is not there: `negative_ttl`, here not at all."""
    policy = ServingPolicy(deadline=SECOND * 5, cache_ttl=60 * SECOND)
    both = service("users:visits", "orders:total", policy=policy)
    stored = Stored(store, [USERS, ORDERS], [both])
    stored.put(USERS, (1, NOON, 5, "Bonn", 0.5))
    stored.serve()
    with FeatureReader.open(stored.catalog, store) as reader:
        before = reader.read("ranking", {"user_id": 1}, as_of=NOON)
        stored.put(ORDERS, (1, NOON, 9.0, "Rome"))
        after = reader.read("ranking", {"user_id": 1}, as_of=NOON)

    assert values(before) == {"visits": [5], "total": [None]}
    assert values(after) == {"visits": [5], "total": [9.0]}


def test_what_is_computed_is_known_no_better_than_what_it_is_computed_from(server):
    """Rule 18, for the stored features that an expression reads and for no others."""
    computed = {"ones": "1.0::double", "more": "visits::double", "both": "visits + total"}
    policy = ServingPolicy(deadline=DEADLINE, stale_for=60 * SECOND, pause=60 * SECOND)
    ranking = service(
        "users:visits",
        "orders:total",
        policy=policy,
        request_features=tuple(
            RequestFeature(name=name, type=parse_type("DOUBLE"), sql=sql)
            for name, sql in computed.items()
        ),
    )
    orders = with_ttl(with_defaults(ORDERS, total=1.5), HOUR)
    stored = Stored(server.target, [USERS, orders], [ranking])
    stored.put(USERS, (1, NOON, 5, "Bonn", 0.5), (2, NOON, 6, "Bonn", 0.5))
    stored.put(orders, (1, NOON, 9.0, "Rome"), (2, NOON - HOUR, 8.0, "Oslo"))
    stored.serve()

    def told(users):
        answer = reader.read("ranking", {"user_id": users}, as_of=NOON)
        return [words(answer)[name] for name in computed]

    with FeatureReader.open(stored.catalog, server.target) as reader:
        assert told([1, 2, 3]) == [
            ["ok", "ok", "ok"],
            ["ok", "ok", "default"],
            ["ok", "default", "default"],
        ]
        assert told(3) == [["ok"], ["default"], ["default"]]
        with server.frozen():
            found = told([1, 2, 4])
    assert found == [
        ["ok", "ok", "ok"],
        ["stale", "stale", "default"],
        ["stale", "default", "default"],
    ]


def test_what_memory_knew_is_counted(opened, server):
    """Of each row one thing, whatever came of the request."""
    reading = opened(
        cache_ttl=SECOND / 5, negative_ttl=60 * SECOND, stale_for=60 * SECOND, pause=60 * SECOND
    )
    counts = reading.reader.counts
    assert counts.all() == (0, 0, 0, 0, 0)
    reading.read([1, 3])
    assert (counts.misses, counts.round_trips) == (2, 1)
    reading.read([1, 3])
    assert (counts.hits, counts.negative_hits, counts.misses) == (1, 1, 2)
    time.sleep(0.25)
    with server.frozen():
        assert reading.read([1, 2, 3]).degraded == "deadline"

    # User 1 was remembered too long ago, user 2 never, and that 3 is not there is still known.
    assert counts.all()[:4] == (1, 2, 3, 1)


@pytest.mark.parametrize("users", [[1], [1, 3]], ids=["all cached", "one is not"])
def test_a_promotion_ends_what_is_cached(opened, users):
    """Rule 21: at the next trip to the store; where every row is in memory, within a fraction of a second."""
    reading = opened(cache_ttl=60 * SECOND)
    assert values(reading.read([1, 2]))["visits"] == [5, 6]
    reading.stored.put(TABLE, (1, NOON, 50, "Bonn", 0.5), snapshot="s2")
    reading.stored.serve(release="r2")
    if users == [1]:
        time.sleep(0.3)
        # The asynchronous reader's loop stands still between two reads, so it hears of it in the first.
        reading.read([2])

    answer = reading.read(users)

    assert (values(answer)["visits"][0], answer.views[0].release) == (50, "r2")


def test_a_cached_row_is_still_subject_to_its_ttl(opened):
    """Rule 12, whether from memory or stale."""
    reading = opened(cache_ttl=60 * SECOND)
    reading.read([1])

    answer = reading.read([1], after=HOUR)

    assert (values(answer), words(answer)) == (
        {"visits": [None], "city": ["nowhere"]},
        {"visits": ["expired"], "city": ["default"]},
    )


def test_stale_rows_are_answered_while_the_store_is_late(opened, server):
    reading = opened(stale_for=60 * SECOND, failures=2)
    reading.read([1, 3])
    with server.frozen():
        answers = [reading.read([1, 2, 3], after=HOUR / 2) for _ in range(3)]
        expired = reading.read([1], after=HOUR)

    for answer in answers:
        assert values(answer) == {"visits": [5, None, None], "city": ["Bonn", "nowhere", "nowhere"]}
        assert words(answer) == {
            "visits": ["stale", "default", "default"],
            "city": ["stale", "default", "default"],
        }
        assert answer.to_dict()["ages"] == {"users": [1800.0, None, None]}
    assert [answer.degraded for answer in answers] == ["deadline", "deadline", "breaker_open"]
    assert (values(expired), words(expired)["visits"]) == (
        {"visits": [None], "city": ["nowhere"]},
        ["expired"],
    )


def test_stale_ends_too(opened, server):
    reading = opened(stale_for=SECOND / 5)
    reading.read([1])
    with server.frozen():
        time.sleep(0.2)
        answer = reading.read([1])

    assert (values(answer)["city"], words(answer)["city"]) == (["nowhere"], ["default"])


def test_a_fallback_is_stale_too_and_still_a_default(server):
    """The source's row comes from memory like any other."""
    orders = with_ttl(ORDERS, HOUR)
    stored = Stored(
        server.target,
        [orders, USERS],
        [
            service(
                "orders:city",
                policy=ServingPolicy(deadline=DEADLINE, stale_for=60 * SECOND),
                fallbacks=[("orders:city", "users:city")],
            )
        ],
    )
    stored.put(orders, (1, NOON - HOUR, 1.0, "Rome"))
    stored.put(USERS, (1, NOON, 5, "Bonn", 0.5))
    stored.serve()
    with FeatureReader.open(stored.catalog, stored.target) as reader:
        reader.read("ranking", {"user_id": 1}, as_of=NOON)
        with server.frozen():
            answer = reader.read("ranking", {"user_id": 1}, as_of=NOON)

    assert (answer.degraded, values(answer), words(answer)) == (
        "deadline",
        {"city": ["Bonn"]},
        {"city": ["default"]},
    )


def test_a_refused_command_degrades_and_is_named(opened, server):
    reading = opened()
    with server.target.client() as client:
        client.acl_setuser("default", enabled=True, commands=["-hmget"])
    try:
        answer = reading.read([1])
    finally:
        with server.target.client() as client:
            client.acl_setuser("default", enabled=True, commands=["+hmget"])

    assert (answer.degraded, values(answer)["city"]) == ("unreachable", ["nowhere"])
    assert "NOPERM" in reading.reader.health().problem
