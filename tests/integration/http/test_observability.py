"""Logs and traces: what is in them, and that no entity key ever is."""

from __future__ import annotations

import io
import json
import time

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from featmill.serving import api_keys
from featmill.serving.http import request_log, server, traces
from featmill.serving.http.access import NOTICED_AFTER
from tests.integration.http.test_features import asked

pytestmark = pytest.mark.redis

SECRET_USER = 424_242_424_242
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def lines(monkeypatch):
    """What the server logs, as objects."""
    stream = io.BytesIO()
    make = request_log.request_log
    monkeypatch.setattr(request_log, "request_log", lambda: make(stream))
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def requests(lines):
    return [line for line in lines() if line["event"] == "request"]


def test_every_request_is_a_line_with_its_id(shop, lines):
    key, presented = api_keys.create(shop.settings.api_keys, "logged")
    headers = {"authorization": f"Bearer {presented}", "x-request-id": "from-the-caller"}
    with shop.client(auth=True, access_log=True) as client:
        asked(client, "churn", {"user_id": [SECRET_USER, 1]}, headers=headers)
        refused = asked(client, "churn", {"user_id": [str(SECRET_USER)]}, headers=headers)
        asked(client, "churn", {"user_id": [SECRET_USER]})
        client.get("/healthz")
        client.get("/nothing")

    first, second, third, health, nothing = requests(lines)
    assert (
        first.items()
        >= {
            "level": "info",
            "request_id": "from-the-caller",
            "route": "/features",
            "status": 200,
            "service": "churn",
            "rows": 2,
            "key": key.key_id,
            "degraded": None,
        }.items()
    )
    assert first["ms"] > 0
    assert first["time"].endswith("+00:00")
    assert (second["status"], third["status"], third["key"]) == (422, 401, None)
    assert (health["route"], health["status"]) == ("/healthz", 200)
    assert (nothing["route"], nothing["status"]) == ("", 404)
    # The answer may name the value that was wrong; nothing that is kept does.
    assert str(SECRET_USER) in refused.text
    assert str(SECRET_USER) not in json.dumps(lines())
    assert presented not in json.dumps(lines())


def test_the_access_log_can_be_off(shop, lines):
    with shop.client() as client:
        asked(client, "churn", {"user_id": 1})
        client.get("/healthz")

    assert [line["event"] for line in lines()] == ["started", "stopped"]


def test_what_should_not_happen_is_500_with_an_id_and_a_line(shop, lines, monkeypatch):
    async def broken(*_args, **_more):
        raise ZeroDivisionError("of the reader")

    monkeypatch.setattr("featmill.serving.async_reader.AsyncFeatureReader.read", broken)
    with shop.client() as client:
        answer = asked(client, "churn", {"user_id": 1})

    assert answer.status_code == 500
    (line,) = [line for line in lines() if line["event"] == "failed"]
    assert line["request_id"] == answer.json()["request_id"]
    assert "of the reader" not in answer.text


def test_keys_that_cannot_be_read_are_said_once_they_are_asked_for(shop, lines):
    _, presented = api_keys.create(shop.settings.api_keys, "kept")
    path = shop.settings.api_keys
    with shop.client(auth=True) as client:
        asked(client, "churn", {"user_id": 1}, headers={"x-api-key": presented})
        time.sleep(NOTICED_AFTER + 0.05)
        whole = path.read_text()
        path.write_text("{")
        answer = asked(client, "churn", {"user_id": 1}, headers={"x-api-key": "fm_0_0"})
        path.write_text(whole)
        folder, beside = path.parent, path.parent.with_name("beside")
        folder.rename(beside)
        folder.write_text("")
        time.sleep(NOTICED_AFTER + 0.05)
        known = asked(client, "churn", {"user_id": 1}, headers={"x-api-key": presented})
        folder.unlink()
        beside.rename(folder)

    assert (answer.status_code, known.status_code) == (401, 200)
    assert [line["level"] for line in lines() if line["event"] == "keys"] == ["error"] * 2


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traces, "from_environment", lambda: traces.Traces(provider))
    return exporter


def test_a_trace_goes_on_from_the_caller_to_the_store(shop, spans):
    with shop.client() as client:
        asked(client, "churn", {"user_id": SECRET_USER}, headers={"traceparent": PARENT})
        asked(client, "churn", {"user_id": ["x"]})
    read, request, wrong_read, wrong = spans.get_finished_spans()

    assert (read.name, request.name) == ("read features", "POST /features")
    assert f"{request.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    assert read.parent.span_id == request.context.span_id
    assert request.attributes["http.response.status_code"] == 200
    assert read.attributes["featmill.entities"] == 1
    assert wrong.parent is None
    assert wrong.attributes["http.response.status_code"] == 422
    assert wrong_read.context.trace_id == wrong.context.trace_id
    told = [(s.name, dict(s.attributes), [e.name for e in s.events]) for s in (read, request)]
    assert str(SECRET_USER) not in str(told)


@pytest.mark.parametrize(
    ("variables", "is_on"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, False),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
            False,
        ),
    ],
    ids=str,
)
def test_the_standard_variables_switch_traces(monkeypatch, variables, is_on):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = traces.from_environment()

    assert (found is not None) == is_on
    if found is not None:
        found.close()


def test_the_asgi_way_answers_the_same(shop):
    """Servers other than uvicorn have no short way."""
    import asyncio

    async def both():
        app = server.features_app(shop.options(), shop.settings, shop.catalog)
        await app.start()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            good = await client.post("/features", json={"service": "churn", "keys": {"user_id": 1}})
            bad = await client.post("/features", content=b" " * (3 << 20))
        await app.stop()
        return good, bad

    good, bad = asyncio.run(both())
    assert good.json()["values"]["count_7d"] == [5]
    assert good.headers["x-request-id"]
    assert bad.status_code == 413
