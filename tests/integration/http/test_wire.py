"""The short way: what is asked over it, what is not, and that nothing on it can take an answer away."""

from __future__ import annotations

import io

import pytest

from featmill.serving.http import request_log
from featmill.serving.http.features import FeaturesRoute
from featmill.serving.http.meters import Meters
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
