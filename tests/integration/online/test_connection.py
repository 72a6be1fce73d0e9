"""The raw socket and redis-py reach the same store: with passwords and databases."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace

import pytest

from featmill.errors import KeyTaken, OnlineUnreachable
from featmill.online.connection import OnlineTarget, resp
from featmill.online.pipeline import Pipeline, Wire
from tests.integration.online.publications import export, snapshot, verify

pytestmark = pytest.mark.redis


def test_another_database_is_another_store(store):
    other = replace(store, db=3)

    export(other, snapshot(10))

    assert verify(other, snapshot(10)).is_equal
    assert verify(store, snapshot(10)).total_differences == 10


def test_users_and_passwords_open_the_store(store):
    with store.client() as client:
        client.acl_setuser(
            "writer", enabled=True, passwords=["+p w"], keys=["*"], commands=["+@all"]
        )
    named = replace(store, username="writer", password="p w")

    export(named, snapshot(10))

    assert verify(named, snapshot(10)).is_equal
    for wrong in (replace(named, password="no"), replace(named, username="nobody")):
        with pytest.raises(OnlineUnreachable, match="refused AUTH: WRONGPASS"):
            wrong.connect()
        with pytest.raises(OnlineUnreachable, match="refused the login"):
            verify(wrong, snapshot(10))


def test_a_database_that_does_not_exist_is_refused(store):
    with pytest.raises(OnlineUnreachable, match="refused SELECT"):
        replace(store, db=99).connect()


def test_a_silent_server_is_not_waited_for_forever():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = OnlineTarget(host="127.0.0.1", port=listener.getsockname()[1])
        with pytest.raises(OnlineUnreachable, match="timed out"):
            silent.connect(timeout=0.05)


def test_a_server_that_falls_silent_is_unreachable(store):
    with (
        Wire(store, silence=0.05) as wire,
        pytest.raises(OnlineUnreachable, match=r"silent for 0.05"),
    ):
        wire.exchange(memoryview(b""))


def test_a_reply_to_nothing_is_an_error(store):
    ping = b"*1\r\n$4\r\nPING\r\n"

    def talk():
        with Pipeline(store, window=1) as pipeline:
            pipeline.send(ping + ping, 1)
            pipeline.finish()
            pipeline.send(ping, 1)
            pipeline.finish()
            pipeline.finish()

    with pytest.raises(OnlineUnreachable, match="nothing had asked"):
        talk()


def test_errors_within_arrays_stop_the_run(store):
    queued = resp(["SET", "k", "v"]) + resp(["HSET", "k", "f", "v"])
    with Pipeline(store, window=10) as pipeline:
        pipeline.send_key(b"k", resp(["MULTI"]) + queued + resp(["EXEC"]), 4)
        with pytest.raises(KeyTaken, match="WRONGTYPE"):
            pipeline.finish()


def test_a_server_that_speaks_something_else_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = OnlineTarget(host="127.0.0.1", port=listener.getsockname()[1])
        thread = threading.Thread(target=speak_http, args=(listener,), daemon=True)
        thread.start()
        with pytest.raises(OnlineUnreachable, match="Protocol error"):
            target.connect()
        thread.join(10)


def speak_http(listener):
    """Answer one client as a web server does."""
    accepted, _ = listener.accept()
    with accepted:
        accepted.recv(1 << 12)
        accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
