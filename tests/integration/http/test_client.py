"""The typed client gives what the reader gives, and fails as it says."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from decimal import Decimal
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from featmill.errors import NotAllowed, OnlineUnreachable, RequestError, ServerRefused, TooBusy
from featmill.serving import api_keys
from featmill.serving.api_keys import Scope
from featmill.serving.client import AsyncFeatureClient, FeatureClient
from featmill.serving.reader import FeatureReader
from tests.integration.http.shop import NOW
from tests.integration.serving.chain import day

pytestmark = pytest.mark.redis
ASKED_OF_TYPED = {"at": [day(1).isoformat()], "code": "x"}
ASKED = [
    ("churn", {"user_id": [1, 2, 3, 4]}, None),
    ("priced", {"user_id": 1}, {"price": [1.5], "seen_at": day(1)}),
    ("typed", {"at": [day(1), day(2)], "code": "x"}, None),
]


@pytest.fixture(scope="module")
def url(client):
    return str(client.base_url)


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked[0])
def test_it_gives_what_the_reader_gives(shop, url, asked):
    with FeatureReader.open(shop.catalog, shop.target) as reader:
        wanted = reader.read(*asked, as_of=NOW)
    with FeatureClient(url, deadline=10) as client:
        found = client.read(*asked)

    assert same(found) == same(wanted)


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked[0])
def test_the_asynchronous_one_gives_the_same(url, asked):
    async def read():
        async with AsyncFeatureClient(url, deadline=10) as client:
            return await client.read(*asked), await client.services()

    with FeatureClient(url, deadline=10) as client:
        found, services = asyncio.run(read())
        assert same(found) == same(client.read(*asked))
        assert services == client.services()


def same(answer):
    """An answer without the kinds of its sequences, and with its words spelt out."""
    return {
        **answer.to_dict(),
        "types": answer.types,
        "view_of": answer.view_of,
        "as_of": answer.as_of,
        "views": [(v.view, v.snapshot, v.statuses, list(v.event_at)) for v in answer.views],
    }


def test_a_service_that_changed_is_asked_for_again(shop):
    """Its types are remembered; read by the old ones, a moment would stay a text."""
    with shop.client() as http:
        types = [http.get("/services/typed").json(), http.get("/services/typed").json()]
        answer = http.post("/features", json={"service": "typed", "keys": ASKED_OF_TYPED})
    of_before = json.dumps({**types[0], "version": "before", "features": types[0]["features"][:-1]})
    now = json.dumps(types[1])
    given = (ok(of_before.encode()), versioned(answer), ok(now.encode()), versioned(answer))
    with scripted(*given) as (url, asked), FeatureClient(url, deadline=5) as client:
        found = client.read("typed", {"at": [day(1)], "code": "x"})

    assert len(asked) == 4
    assert found.values[found.names.index("seen")] == [day(1)]
    assert found.types[-1].sql == "TEXT[]"


def test_a_service_that_keeps_changing_ends(shop):
    with shop.client() as http:
        told = http.get("/services/typed").json()
        answer = http.post("/features", json={"service": "typed", "keys": ASKED_OF_TYPED})
    before = ok(json.dumps({**told, "version": "before"}).encode())
    with (
        scripted(*([before, versioned(answer)] * 4)) as (url, asked),
        FeatureClient(url, deadline=5) as client,
        pytest.raises(OnlineUnreachable, match="another one"),
    ):
        client.read("typed", {"at": [day(1)], "code": "x"})
    assert len(asked) == 8


def test_a_wrong_request_is_a_typed_error(url):
    with FeatureClient(url, deadline=10) as client:
        with pytest.raises(ServerRefused, match="user_id") as wrong:
            client.read("churn", {"user_id": ["x"]})
        with pytest.raises(ServerRefused, match="no service") as unknown:
            client.read("nothing", {"user_id": [1]})

    assert (wrong.value.status, wrong.value.field) == (422, "keys.user_id")
    assert wrong.value.request_id
    assert unknown.value.status == 404


def test_a_key_that_does_not_open_it_is_a_typed_error(shop):
    scope = Scope(services=frozenset({"visits"}))
    _, presented = api_keys.create(shop.settings.api_keys, "client", scope)
    with shop.client(auth=True) as http:
        url = str(http.base_url)
        with FeatureClient(url, presented, deadline=10) as client:
            assert client.read("visits", {"user_id": 1}).values == ([9],)
            with pytest.raises(ServerRefused, match="no service") as closed:
                client.read("churn", {"user_id": 1})
        with FeatureClient(url, "fm_0_0", deadline=10) as client, pytest.raises(NotAllowed):
            client.services()

    assert closed.value.status == 404


BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 2\r\n\r\n{}"
GONE = b""


@contextmanager
def scripted(*answers):
    """A server that gives these answers one after the other, each to a connection of its own; how many it gave."""
    given = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)

        def serve():
            for answer in answers:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1 << 16)
                    given.append(answer)
                    connection.sendall(
                        answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
                    )

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", given
    thread.join(6)


def ok(text=b'{"services": []}', headers=b""):
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (headers, len(text), text)


def versioned(answer):
    """An answer of a server, with the version it was given with."""
    version = answer.headers["x-featmill-service-version"].encode()
    return ok(answer.content, b"X-Featmill-Service-Version: %b\r\n" % version)


def test_it_asks_again_where_that_may_help():
    with scripted(BUSY, GONE, BUSY, ok()) as (url, given), FeatureClient(url, deadline=5) as client:
        assert client.services() == []
    assert len(given) == 4


def test_it_does_not_ask_again_where_that_cannot_help():
    wrong = b"HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\n{}"
    with (
        scripted(wrong, ok()) as (url, given),
        FeatureClient(url, deadline=5) as client,
        pytest.raises(ServerRefused),
    ):
        client.services()
    assert len(given) == 1


def test_it_gives_up_at_the_deadline():
    late = BUSY.replace(b"Retry-After: 0", b"Retry-After: 60")
    started = time.monotonic()
    with (
        scripted(late) as (url, _),
        FeatureClient(url, deadline=0.5) as client,
        pytest.raises(TooBusy),
    ):
        client.services()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with (
        FeatureClient(f"http://127.0.0.1:{port}", deadline=0.5) as client,
        pytest.raises(OnlineUnreachable, match="in time"),
    ):
        client.services()

    assert time.monotonic() - started < 3


@contextmanager
def dripping(head):
    """A server that sends a byte now and then and never ends."""
    end = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)

        def serve():
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(head)
                    while not end.wait(0.05):
                        connection.sendall(b" ")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        end.set()
    thread.join(6)


HEADS = (b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")


@pytest.mark.parametrize("head", HEADS, ids=["headers", "body"])
def test_a_server_that_drips_is_left_at_the_deadline(head):
    async def ask(url):
        async with AsyncFeatureClient(url, deadline=0.3) as client:
            await client.read("churn", {"user_id": 1})

    started = time.monotonic()
    with (
        dripping(head) as url,
        FeatureClient(url, deadline=0.3) as client,
        pytest.raises(OnlineUnreachable, match="in time"),
    ):
        client.read("churn", {"user_id": 1})
    with dripping(head) as url, pytest.raises(OnlineUnreachable, match="in time"):
        asyncio.run(ask(url))

    assert time.monotonic() - started < 1.2


@pytest.mark.parametrize("text", [b"<html>", b"[]", b"{}", b'{"version": 1}'], ids=bytes.decode)
def test_what_is_no_feature_server_is_a_typed_error(text):
    with (
        scripted(ok(text)) as (url, _),
        FeatureClient(url, deadline=5) as client,
        pytest.raises(OnlineUnreachable, match="no feature server"),
    ):
        client.read("churn", {"user_id": 1})


@pytest.mark.parametrize(
    "users",
    [np.array([1, 2]), [np.int64(1), np.int64(2)], range(1, 3), pa.array([1, 2]), (1, 2)],
    ids=lambda users: type(users).__name__,
)
def test_keys_come_in_every_form_that_the_reader_takes(shop, url, users):
    with FeatureReader.open(shop.catalog, shop.target) as reader:
        wanted = reader.read("churn", {"user_id": users}, as_of=NOW)
    with FeatureClient(url, deadline=10) as client:
        assert client.read("churn", {"user_id": users}).values == wanted.values


def test_request_fields_come_in_every_form(url):
    with FeatureClient(url, deadline=10) as client:
        for price in (Decimal("1.5"), np.float32(1.5), [np.float64(1.5)], pa.scalar(1.5)):
            found = client.read("priced", {"user_id": 1}, {"price": price, "seen_at": day(1)})
            assert found.values[-1] == [3.0]


@pytest.mark.parametrize("wrong", [float("nan"), [float("inf")], object(), {"a": 1}, [[1.0]]])
def test_what_has_no_form_is_a_typed_error(url, wrong):
    with FeatureClient(url, deadline=10) as client, pytest.raises(RequestError) as found:
        client.read("priced", {"user_id": 1}, {"price": wrong, "seen_at": UUID(int=1)})

    assert found.value.field == "request.price"
