"""The short way: what is asked over it, what is not, and that nothing on it can take an answer away."""

from __future__ import annotations

import http.client
import io
import json
import select
import socket
import time
from contextlib import contextmanager, suppress

import pytest

from featmill.serving.http import request_log
from featmill.serving.http.features import FeaturesRoute
from featmill.serving.http.meters import Meters
from featmill.serving.http.wire import HEAD_BYTES
from tests.integration.http.test_features import asked

pytestmark = pytest.mark.redis


def test_requests_for_features_take_the_short_way(client, monkeypatch):
    async def long_way(*_args):
        raise ZeroDivisionError("the long way")

    monkeypatch.setattr(FeaturesRoute, "__call__", long_way)

    assert asked(client, "churn", {"user_id": 1}).status_code == 200
    # HTTP/1.1 without anything unusual; what is unusual goes the long way.
    assert (
        asked(client, "churn", {"user_id": 1}, headers={"expect": "100-continue"}).status_code
        == 500
    )


class BrokenSink(io.BytesIO):
    """What is behind a closed pipe."""

    def write(self, _text):
        raise BrokenPipeError("nobody reads the log")


def test_a_log_that_breaks_costs_no_answer(shop, monkeypatch):
    make = request_log.request_log
    monkeypatch.setattr(request_log, "request_log", lambda: make(BrokenSink()))
    with shop.client(access_log=True) as client:
        good = asked(client, "churn", {"user_id": 1})
        wrong = asked(client, "churn", {"user_id": "x"})
        other = client.get("/healthz")
        nowhere = client.get("/nothing")
        counted = client.get("/metrics").text

    answers = (good, wrong, other, nowhere)
    assert [answer.status_code for answer in answers] == [200, 422, 200, 404]
    # With the line that says that the server started.
    assert "featmill_log_lines_lost_total 5.0" in counted


@pytest.mark.parametrize("way", [{}, {"expect": "100-continue"}], ids=["short", "long"])
def test_what_breaks_beside_the_read_is_500_with_an_id_and_the_end(shop, monkeypatch, way):
    def broken(*_args):
        raise ZeroDivisionError("of the counters")

    monkeypatch.setattr(Meters, "answered", broken)
    with shop.client() as client:
        answer = asked(client, "churn", {"user_id": 1}, headers=way)
        after = client.get("/healthz")

    assert (answer.status_code, after.status_code) == (500, 200)
    assert answer.headers["connection"] == "close"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


HEAD = b"POST /features HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = b'{"service": "churn", "keys": {"user_id": 1}}'


@contextmanager
def connection(client):
    """A socket to the server of a client."""
    address = (client.base_url.host, client.base_url.port)
    with socket.create_connection(address, timeout=10) as opened:
        yield opened


def answer_of(opened):
    """A whole answer: its status, headers and body."""
    answer = http.client.HTTPResponse(opened)
    answer.begin()
    return answer.status, dict(answer.getheaders()), answer.read()


@pytest.mark.parametrize("path", [b"/features", b"/healthz"])
@pytest.mark.parametrize("size", [1, 4_096, 1 << 20], ids=str)
def test_endless_headers_are_refused(client, path, size):
    with connection(client) as opened:
        opened.sendall(HEAD.replace(b"/features", path) + b"X-Long: ")
        with suppress(ConnectionError):
            sent = 0
            while sent < (1 << 20):
                # One byte at a time only close to the limit.
                piece = size if sent > HEAD_BYTES - 200 else max(size, HEAD_BYTES - 200)
                sent += opened.send(b"a" * piece)
                if select.select([opened], [], [], 0)[0]:
                    break
        status, headers, body = answer_of(opened)

    said = json.loads(body)
    assert (status, said["field"]) == (431, "header")
    assert headers["connection"] == "close"
    assert said["request_id"] == headers["x-request-id"]
    assert asked(client, "churn", {"user_id": 1}).status_code == 200


def test_headers_in_one_piece_are_measured_too(client):
    with connection(client) as opened:
        opened.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * HEAD_BYTES + b"\r\n\r\n")
        assert answer_of(opened)[0] == 431


def test_a_long_body_in_one_piece_with_its_headers_is_no_long_header(client):
    body = b" " * 100_000 + BODY
    with connection(client) as opened:
        opened.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert answer_of(opened)[0] == 200
        opened.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:70_000])
        time.sleep(0.05)
        opened.sendall(body[70_000:])
        assert answer_of(opened)[0] == 200


@pytest.mark.parametrize("begun", [b"P", HEAD[:-2], HEAD + b"X-More: a"], ids=len)
def test_headers_that_do_not_come_are_given_up(shop, begun):
    with shop.client(body_seconds=0.3) as client:
        with connection(client) as opened:
            opened.sendall(begun)
            status, headers, body = answer_of(opened)
        assert (status, headers["connection"]) == (408, "close")
        assert json.loads(body)["field"] == "header"
        with connection(client) as opened:
            # What is done in time is not cut, also later on the same connection.
            for _ in range(2):
                opened.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY))
                time.sleep(0.1)
                opened.sendall(BODY)
                assert answer_of(opened)[0] == 200
                time.sleep(0.5)


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAA\r\n"


@pytest.mark.parametrize("cut", [None, 60, -10, -len(BODY)], ids=str)
def test_an_upgrade_that_is_not_made_loses_no_body(client, cut):
    """Java's client offers HTTP/2 with its first request."""
    whole = HEAD + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    with connection(client) as opened:
        for _ in range(2):
            opened.sendall(whole[:cut])
            if cut is not None:
                time.sleep(0.05)
                opened.sendall(whole[cut:])
            status, _, body = answer_of(opened)
            assert (status, json.loads(body).get("values", {}).get("count_7d")) == (200, [5])
        opened.sendall(b"GET /healthz HTTP/1.1\r\n" + UPGRADE + b"\r\n")
        assert answer_of(opened)[0] == 200


def test_a_tunnel_is_not_made(client):
    with connection(client) as opened:
        opened.sendall(b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n")
        assert answer_of(opened)[0] == 400
