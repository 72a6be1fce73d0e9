"""Bad input gets a clear 4xx that names the field, and never a 500."""

from __future__ import annotations

import json

import pytest

from tests.integration.http.test_features import asked

pytestmark = pytest.mark.redis
JSON = {"content-type": "application/json"}
CHURN = {"service": "churn", "keys": {"user_id": [1]}}
PRICED = {"service": "priced", "keys": {"user_id": [1]}}
TYPED = {"service": "typed", "keys": {"at": "2026-03-01T12:00:00Z", "code": "x"}}


def body(**changes):
    return {**CHURN, **changes}


def request(**fields):
    return {**PRICED, "request": {"price": 1.0, "seen_at": "2026-03-01T00:00:00Z", **fields}}


@pytest.mark.parametrize(
    ("sent", "status", "field"),
    [
        ([], 422, "body"),
        ("churn", 422, "body"),
        ({}, 422, "service"),
        (body(service=None), 422, "service"),
        (body(service=["churn"]), 422, "service"),
        (body(service="nothing"), 404, "service"),
        (body(service="x" * 100_000), 404, "service"),
        (body(keys=None), 422, "keys"),
        (body(keys=[1]), 422, "keys"),
        (body(keys={}), 422, "keys.user_id"),
        (body(keys={"user_id": []}), 422, "keys.user_id"),
        (body(keys={"user_id": ["1"]}), 422, "keys.user_id"),
        (body(keys={"user_id": [1, "1"]}), 422, "keys.user_id"),
        (body(keys={"user_id": [1.0]}), 422, "keys.user_id"),
        (body(keys={"user_id": [True]}), 422, "keys.user_id"),
        (body(keys={"user_id": [None]}), 422, "keys.user_id"),
        (body(keys={"user_id": None}), 422, "keys.user_id"),
        (body(keys={"user_id": {}}), 422, "keys.user_id"),
        (body(keys={"user_id": [[1]]}), 422, "keys.user_id"),
        (body(keys={"user_id": [2**63]}), 422, "keys.user_id"),
        (body(keys={"user_id": [2**64]}), 422, "keys.user_id"),
        (body(keys={"user_id": [1], "item_id": [1]}), 422, "keys.item_id"),
        (body(keys={"user_id": list(range(1_001))}), 413, "keys.user_id"),
        (body(keys={"user_id": [1] * 10_001}), 413, "keys.user_id"),
        (body(format="table"), 422, "format"),
        (body(format=["rows"]), 422, "format"),
        (body(format=None), 422, "format"),
        (body(more=1), 422, "more"),
        (body(request={"price": 1}), 422, "request.price"),
        (body(request=None), 422, "request"),
        (PRICED, 422, "request.price"),
        (request(price="cheap"), 422, "request.price"),
        (request(price=[1.0, 2.0]), 422, "request.price"),
        (request(price=[[1.0]]), 422, "request.price"),
        (request(seen_at="yesterday"), 422, "request.seen_at"),
        (request(seen_at="2026-03-01T00:00:00"), 422, "request.seen_at"),
        (request(seen_at=[1]), 422, "request.seen_at[0]"),
        (request(colour="red"), 422, "request.colour"),
        (TYPED | {"keys": {"at": "noon", "code": "x"}}, 422, "keys.at"),
        (TYPED | {"keys": {"at": "2026-03-01T12:00:00", "code": "x"}}, 422, "keys.at"),
        (TYPED | {"keys": {"at": "2026-03-01T12:00:00.5Z", "code": "x"}}, 422, "keys.at"),
        (TYPED | {"keys": {"at": "2026-03-01T12:00:00Z", "code": 5}}, 422, "keys.code"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict | list) else None,
)
def test_a_field_that_is_wrong_is_named(client, sent, status, field):
    answer = client.post("/features", json=sent)
    found = answer.json()

    assert (answer.status_code, found["field"]) == (status, field)
    assert found["error"]
    assert found["expected"]
    assert found["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"service": "churn", "keys": {"user_id": [NaN]}}',
        b'{"service": "churn", "keys": {"user_id": [Infinity]}}',
        b'{"service": "churn", "keys": {"user_id": [1e999]}}',
        b'{"service": "churn", "keys": {"user_id": ["\xff"]}}',
        b'{"service": "churn", "keys": {"user_id": ["\\ud800"]}}',
        b'{"service": "churn", "keys": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"service": "churn", "keys": {"user_id": ' + b"9" * 10_000 + b"}}",
    ],
    ids=lambda text: text[:50].decode("latin-1"),
)
def test_what_is_no_json_is_refused(client, text):
    answer = client.post("/features", content=text, headers=JSON)

    assert answer.status_code in (400, 422)
    assert answer.json()["field"] in ("body", "keys.user_id")


def test_another_content_type_is_refused(client):
    text = json.dumps(CHURN)
    sent = [
        client.post("/features", content=text, headers={"content-type": kind})
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=utf-8",
        )
    ]

    assert [answer.status_code for answer in sent] == [415, 415, 200]
    assert sent[0].json()["field"] == "header.content-type"


def test_a_form_that_there_is_not_is_refused(client):
    refused = asked(client, "churn", {"user_id": 1}, headers={"accept": "text/csv"})
    taken = asked(client, "churn", {"user_id": 1}, headers={"accept": "text/csv, */*;q=0.1"})

    assert (refused.status_code, refused.json()["field"]) == (406, "header.accept")
    assert taken.status_code == 200


def test_a_long_body_is_refused_whether_it_says_so_or_not(shop):
    with shop.client(body_bytes=1_000) as client:
        said = client.post("/features", json=body(keys={"user_id": list(range(900))}))
        streamed = client.post("/features", content=pieces(b" " * 600, 10), headers=JSON)
        whole = client.post(
            "/features", content=pieces(json.dumps(CHURN).encode(), 1), headers=JSON
        )
        after = client.post("/features", json=CHURN)

    for answer in (said, streamed):
        assert (answer.status_code, answer.json()["field"]) == (413, "body")
        assert answer.headers["connection"] == "close"
    assert (whole.status_code, after.status_code) == (200, 200)


def pieces(piece, times):
    """A body that is sent in chunks, without saying how long it is."""
    for _ in range(times):
        yield piece


def test_a_body_that_does_not_come_is_given_up(shop):
    import socket

    with shop.client(body_seconds=0.2) as client:
        address = (client.base_url.host, client.base_url.port)
        with socket.create_connection(address, timeout=10) as slow:
            slow.sendall(
                b"POST /features HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 50\r\n\r\n{"
            )
            said = slow.recv(1 << 16)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert client.post("/features", json=CHURN).status_code == 200


def test_other_paths_and_methods_are_refused_as_json(client):
    path, method = client.get("/nothing"), client.get("/features")
    unknown = client.get("/services/nothing")

    assert (path.status_code, path.json()["field"]) == (404, "path")
    assert (method.status_code, method.headers["allow"]) == (405, "POST")
    assert (unknown.status_code, unknown.json()["field"]) == (404, "service")


def test_more_at_once_than_may_be_is_refused_quickly(shop):
    import concurrent.futures as futures

    with shop.client(concurrency=1) as client, futures.ThreadPoolExecutor(16) as pool:
        users = list(range(1_000))
        sent = [pool.submit(asked, client, "churn", {"user_id": users}) for _ in range(64)]
        answers = [one.result() for one in sent]

    statuses = {answer.status_code for answer in answers}
    assert 200 in statuses
    assert statuses <= {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    "sent",
    [
        {"x" * 1_000_000: 1, **CHURN},
        body(service="x" * 1_000_000),
        body(keys={"x" * 1_000_000: 1}),
        body(keys={"user_id": "x" * 1_000_000}),
        body(keys={"user_id": ["x" * 1_000_000]}),
        body(request={"x" * 1_000_000: 1}),
        body(format="x" * 1_000_000),
        request(price="x" * 1_000_000),
        request(price=["x" * 1_000_000]),
        request(seen_at="x" * 1_000_000),
        TYPED | {"keys": {"at": "x" * 1_000_000, "code": "x"}},
    ],
    ids=range(11),
)
def test_what_is_wrong_is_not_sent_back_whole(client, sent):
    answer = client.post("/features", json=sent)

    assert answer.status_code in (404, 422)
    assert len(answer.content) < 1_000
    assert answer.json()["field"]
