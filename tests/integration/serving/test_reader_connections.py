"""The readers' connections: TLS and a login, many threads, more requests than the store can keep up with."""

from __future__ import annotations

import asyncio
import socketserver
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread

import pytest
import trustme

from featmill.contract.catalog import ServingPolicy
from featmill.online.connection import OnlineTarget
from featmill.serving.async_reader import AsyncFeatureReader
from featmill.serving.reader import FeatureReader
from featmill.serving.store import channel
from tests.integration.online.tls_front import tls_front
from tests.integration.serving.servers import HarassedServer
from tests.integration.serving.stored import NOON, USERS, Stored, service, values

pytestmark = pytest.mark.redis

_GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


def filled(target, **policy):
    given = ServingPolicy.model_validate({"deadline": timedelta(seconds=5)} | policy)
    stored = Stored(target, services=[service("users:visits", "users:city", policy=given)])
    stored.put(USERS, *((n, NOON, n, f"c{n}", 0.5) for n in range(500)))
    stored.serve()
    return stored


def visits(answer):
    assert answer.degraded is None
    return values(answer)["visits"]


def read_once(stored, users):
    """What both readers answer."""
    with FeatureReader.open(stored.catalog, stored.target) as reader:
        blocking = reader.read("ranking", {"user_id": users}, as_of=NOON)

    async def once():
        async with await AsyncFeatureReader.open(stored.catalog, stored.target) as reader:
            return await reader.read("ranking", {"user_id": users}, as_of=NOON)

    return blocking, asyncio.run(once())


def test_rows_come_over_tls(store, tmp_path):
    stored = filled(store)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with tls_front(authority, store) as front:
        stored.target = OnlineTarget.from_url(
            f"rediss://localhost:{front.port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
        )
        answers = read_once(stored, list(range(500)))

    assert [visits(answer) for answer in answers] == [list(range(500))] * 2


def test_a_certificate_that_is_not_trusted_is_a_problem_and_no_exception(store, tmp_path):
    stored = filled(store)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with tls_front(trustme.CA(), store) as front:
        stored.target = OnlineTarget.from_url(
            f"rediss://localhost:{front.port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
        )
        answers = read_once(stored, [1])

    assert [answer.degraded for answer in answers] == ["unreachable"] * 2


@contextmanager
def babbling():
    """A server that lets readers in and answers everything else with what is no reply."""

    class Babble(socketserver.BaseRequestHandler):
        def handle(self):
            while received := self.request.recv(65_536):
                is_login = b"SELECT" in received
                is_hello = b"HELLO" in received
                said = b"+OK\r\n" if is_login else b"-ERR\r\n" if is_hello else _GARBAGE
                self.request.sendall(said)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Babble) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield OnlineTarget.from_url(f"redis://127.0.0.1:{server.server_address[1]}/0")
        server.shutdown()
        thread.join()


def test_what_is_no_reply_is_a_store_that_is_lost(store, caplog):
    stored = filled(store)
    with babbling() as target:
        stored.target = target
        answers = read_once(stored, [1])

    assert [answer.degraded for answer in answers] == ["unreachable"] * 2
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


def test_a_login_is_used_and_a_wrong_one_is_a_problem(store):
    stored = filled(store)
    with store.client() as client:
        client.acl_setuser(
            "model",
            enabled=True,
            passwords=["+secret"],
            keys=["*"],
            commands=["+hmget", "+hget", "+select"],
        )
    try:
        found = []
        for password in ("secret", "guess"):
            url = f"unix://model:{password}@{store.socket_path}?db=0"
            stored.target = OnlineTarget.from_url(url)
            found.append([answer.degraded for answer in read_once(stored, [1])])
    finally:
        with store.client() as client:
            client.acl_deluser("model")

    assert found == [[None] * 2, ["unreachable"] * 2]


def test_threads_share_a_reader(store):
    """Each gets its own entities, while what serves moves."""
    stored = filled(store)
    with FeatureReader.open(stored.catalog, store) as reader, ThreadPoolExecutor(8) as pool:

        def some(start):
            found = []
            for place in range(40):
                users = [(start + place * step) % 500 for step in range(1, 1 + place % 7)]
                found.append((users, reader.read("ranking", {"user_id": users}, as_of=NOON)))
            return found

        reads = [pool.submit(some, start) for start in range(16)]
        for _ in range(5):
            stored.serve()
        for done in reads:
            for users, answer in done.result():
                assert visits(answer) == users


@pytest.mark.parametrize(
    ("limit", "value", "users", "late"),
    [("_OUTSTANDING", 3, [1], 3), ("_UNSENT", 50_000, list(range(500)), 2)],
    ids=["requests", "bytes"],
)
def test_what_the_store_cannot_keep_up_with_is_turned_away(
    tmp_path, monkeypatch, limit, value, users, late
):
    """Our own load is no fault of the store's: the breaker stays closed."""
    monkeypatch.setattr(channel, limit, value)
    server = HarassedServer(tmp_path / "online")
    server.start()
    try:
        stored = filled(server.target, deadline=timedelta(milliseconds=200), failures=4)

        async def story():
            async with await AsyncFeatureReader.open(stored.catalog, server.target) as reader:

                async def read():
                    return await reader.read("ranking", {"user_id": users}, as_of=NOON)

                await read()
                with server.frozen():
                    crowd = await asyncio.gather(*(read() for _ in range(9)))
                state = reader.health().breakers
                while (answer := await read()).degraded is not None:
                    await asyncio.sleep(0.01)
                return sorted(one.degraded for one in crowd), state, visits(answer)

        reasons, state, found = asyncio.run(asyncio.wait_for(story(), 20))
    finally:
        server.end()

    assert reasons == ["deadline"] * late + ["overloaded"] * (9 - late)
    assert (state, found) == ({"ranking": "closed"}, users)
