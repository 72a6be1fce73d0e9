"""API keys over HTTP: who gets in, to what, how often; and what is noticed while the server runs."""

from __future__ import annotations

import base64
import time
from datetime import timedelta

import pytest

from featmill.serving import api_keys
from featmill.serving.api_keys import Scope
from featmill.serving.http.access import NOTICED_AFTER
from tests.integration.http.test_features import asked

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def guarded(shop):
    """A client of a server that asks for keys."""
    with shop.client(auth=True) as client:
        yield client


@pytest.fixture
def key(shop, request):
    """Makes keys of this test."""

    def make(**scope):
        life = scope.pop("expires_in", None)
        opens = Scope(**{part: frozenset(names) for part, names in scope.items()})
        made = api_keys.create(shop.settings.api_keys, f"{request.node.name} {scope}", opens, life)
        time.sleep(NOTICED_AFTER + 0.05)
        return made

    return make


def bearer(presented):
    return {"authorization": f"Bearer {presented}"}


def churn(client, headers):
    return asked(client, "churn", {"user_id": 1}, headers=headers)


def test_a_key_is_taken_in_each_way_it_may_be_sent(guarded, key):
    _, presented = key()
    basic = base64.b64encode(f"me:{presented}".encode()).decode()

    for headers in (
        bearer(presented),
        {"x-api-key": presented},
        {"authorization": f"Basic {basic}"},
    ):
        assert churn(guarded, headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer fm_00000000_AAAA"},
        {"authorization": "Basic nonsense!"},
        {"authorization": "Digest x"},
        {"x-api-key": "ÿ".encode()},
    ],
    ids=str,
)
def test_no_key_and_a_wrong_one_open_nothing(guarded, headers):
    for answer in (
        churn(guarded, headers),
        *(guarded.get(path, headers=headers) for path in CLOSED),
    ):
        assert answer.status_code == 401
        assert answer.json()["field"] == "header.authorization"
        assert "Bearer" in answer.headers["www-authenticate"]


CLOSED = ("/", "/metrics", "/openapi.json", "/services", "/services/churn")


def test_health_needs_no_key(guarded):
    assert guarded.get("/healthz").json() == {"status": "alive"}
    ready = guarded.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "problem": None})


def test_readiness_says_what_the_key_may_know(guarded, key):
    whole = guarded.get("/readyz", headers=bearer(key()[1])).json()["serving"]
    part = guarded.get("/readyz", headers=bearer(key(tenants=["retail"])[1])).json()["serving"]
    page = guarded.get("/", headers=bearer(key(services=["churn"])[1])).text

    assert {name: set(one["snapshots"]) for name, one in whole.items()} == {
        "shop": {"clicks", "orders", "typed"},
        "shop_retail": {"visits"},
    }
    assert part == {"shop_retail": whole["shop_retail"]}
    assert "shop_retail" not in page
    assert whole["shop"]["snapshots"]["typed"] not in page


@pytest.mark.parametrize(
    "sent",
    [
        {"keys": {"user_id": 1}},
        {"keys": {"user_id": "x"}},
        {"keys": {"wrong": 1}},
        {"keys": {}},
        {},
        {"keys": {"user_id": 1}, "request": {"price": []}},
        {"keys": {"user_id": list(range(2_000))}},
    ],
    ids=lambda sent: str(sent)[:40],
)
def test_what_a_key_may_not_see_is_not_there(guarded, key, sent):
    headers = bearer(key(tenants=["retail"])[1])

    foreign, nowhere = (
        guarded.post("/features", json={"service": name, **sent}, headers=headers)
        for name in ("priced", "pricee")
    )

    assert foreign.status_code == nowhere.status_code == 404
    assert {**foreign.json(), "request_id": ""} == {
        **nowhere.json(),
        "request_id": "",
        "error": nowhere.json()["error"].replace("pricee", "priced"),
    }


@pytest.mark.parametrize(
    ("scope", "opens"),
    [
        ({}, ["churn", "priced", "typed", "visits", "remembered", "careful"]),
        ({"services": ["churn"]}, ["churn"]),
        ({"views": ["clicks", "orders"]}, ["churn", "priced", "remembered", "careful"]),
        ({"views": ["clicks"]}, []),
        ({"tenants": ["retail"]}, ["visits"]),
        ({"tenants": ["default"], "services": ["churn", "visits"]}, ["churn"]),
    ],
    ids=str,
)
def test_a_scope_opens_its_services_and_no_other(guarded, key, scope, opens):
    headers = bearer(key(**scope)[1])
    keys = {"user_id": 1}

    listed = guarded.get("/services", headers=headers).json()["services"]
    assert {one["name"] for one in listed} == set(opens)
    page = guarded.get("/", headers=headers).text
    for name in ("churn", "visits", "careful"):
        answer = asked(guarded, name, keys, headers=headers)
        assert answer.status_code == (200 if name in opens else 404)
        assert guarded.get(f"/services/{name}", headers=headers).status_code == answer.status_code
        assert (f">{name}</td>" in page) == (name in opens)
    document = guarded.get("/openapi.json", headers=headers).text
    for name in ("churn", "priced", "typed", "visits", "careful"):
        assert (f'"{name}"' in document) == (name in opens)
    assert guarded.get("/metrics", headers=headers).status_code == (403 if scope else 200)


def test_a_revoked_key_and_an_expired_one_open_nothing_any_more(guarded, shop, key):
    stored, presented = key()
    _, short = key(services=["churn"], expires_in=timedelta(seconds=1))
    assert churn(guarded, bearer(presented)).status_code == 200
    assert churn(guarded, bearer(short)).status_code == 200

    api_keys.revoke(shop.settings.api_keys, stored.key_id)
    time.sleep(1.0)

    assert churn(guarded, bearer(presented)).status_code == 401
    assert churn(guarded, bearer(short)).status_code == 401


def test_each_key_has_its_own_requests_a_second(shop, key):
    first, second = key()[1], key(services=["churn"])[1]
    with shop.client(auth=True, rate=5) as client:
        answers = [churn(client, bearer(first)) for _ in range(12)]
        other = churn(client, bearer(second))
        time.sleep(2.1)
        later = churn(client, bearer(first))

    refused = [answer for answer in answers if answer.status_code == 429]
    assert 5 <= len(answers) - len(refused) <= 10
    assert refused[-1].headers["retry-after"] == "1"
    assert refused[-1].json()["expected"]
    assert (other.status_code, later.status_code) == (200, 200)
