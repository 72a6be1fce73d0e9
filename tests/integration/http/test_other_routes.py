"""What people, orchestrators and monitors ask."""

from __future__ import annotations

import re

import pytest

from featmill.online.server import EmbeddedServer
from tests.integration.http.shop import Shop
from tests.integration.http.test_features import asked
from tests.integration.serving.chain import day

pytestmark = pytest.mark.redis


def samples(client):
    """Every sample of /metrics by its name and labels."""
    text = client.get("/metrics").text
    return {
        name: float(value)
        for name, value in re.findall(r"^([a-z_]+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    }


def test_services_say_what_they_take_and_give(client):
    found = client.get("/services/priced").json()

    assert found["description"] == "about priced"
    assert found["owner"] == "ds"
    assert found["views"] == ["clicks", "orders"]
    assert [one["name"] for one in found["keys"]] == ["user_id"]
    assert [(one["name"], one["json_type"]) for one in found["request"]] == [
        ("price", "float"),
        ("seen_at", "moment"),
    ]
    assert [(one["name"], one["type"]) for one in found["features"]] == [
        ("clicks__count_7d", "BIGINT"),
        ("orders__count_7d", "BIGINT"),
        ("double_price", "DOUBLE"),
    ]


def test_ready_says_what_serves(client):
    answer = client.get("/readyz")

    assert answer.status_code == 200
    found = answer.json()
    assert (found["status"], found["problem"]) == ("ready", None)
    assert set(found["serving"]) == {"shop", "shop_retail"}
    assert found["serving"]["shop"]["complete"] is True
    assert found["serving"]["shop"]["snapshots"]["clicks"].startswith("20260302")


def test_the_page_shows_services_what_serves_and_its_age(client):
    asked(client, "churn", {"user_id": 1})
    page = client.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert '<td data-of="service">churn</td>' in page.text
    assert re.search(r'<td data-of="view">clicks</td><td data-of="snapshot">20260302T', page.text)
    assert "1 d" in page.text
    assert "2026-03-03 12:00:00 UTC" in page.text
    assert "the clock is fixed" in page.text
    assert 'http-equiv="refresh"' in page.text
    assert "prefers-color-scheme: dark" in page.text
    # Nothing is asked of anybody else.
    assert not re.findall(r"(?:src|href)=\"?(?:https?:)?//", page.text)


def test_metrics_count_requests_entities_and_values_by_status(shop):
    with shop.client() as client:
        before = samples(client)
        asked(client, "churn", {"user_id": [1, 2, 3, 4]})
        asked(client, "churn", {"user_id": ["wrong"]})
        asked(client, "nothing", {"user_id": 1})
        found = samples(client)

    def of(name, **labels):
        inside = ",".join(f'{k}="{v}"' for k, v in labels.items())
        sample = f"{name}{{{inside}}}"
        return found[sample] - before.get(sample, 0)

    assert of("featmill_requests_total", route="/features", service="churn", status="200") == 1
    assert of("featmill_requests_total", route="/features", service="churn", status="422") == 1
    assert of("featmill_requests_total", route="/features", service="", status="404") == 1
    assert of("featmill_entities_total", service="churn") == 4
    assert of("featmill_values_total", service="churn", status="ok") == 6
    assert of("featmill_values_total", service="churn", status="default") == 2
    assert of("featmill_values_total", service="churn", status="missing") == 3
    assert of("featmill_values_total", service="churn", status="expired") == 1
    assert of("featmill_request_seconds_count", service="churn") == 1
    assert found['featmill_snapshot_age_seconds{project="shop"}'] == 86_400


def test_metrics_count_what_the_memory_knew_and_what_the_store_was_asked(shop):
    with shop.client() as client:
        before = samples(client)
        # User 4 is nowhere; the second time nothing is asked of the store but whether it still serves the same.
        asked(client, "remembered", {"user_id": [1, 3, 4]})
        asked(client, "remembered", {"user_id": [1, 3, 4, 2]})
        asked(client, "churn", {"user_id": [1]})
        found = samples(client)

    counted = {
        what: found[f'featmill_reader_total{{what="{what}"}}']
        - before[f'featmill_reader_total{{what="{what}"}}']
        for what in ("hit", "negative_hit", "miss", "stale", "round_trip")
    }
    assert counted == {"hit": 2, "negative_hit": 1, "miss": 4, "stale": 0, "round_trip": 3}


def test_no_family_of_metrics_is_empty(shop):
    with shop.client() as client:
        fresh = client.get("/metrics").text
        asked(client, "churn", {"user_id": 1})
        used = client.get("/metrics").text

    for text in (fresh, used):
        families = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
        told = {
            re.sub(r"(_bucket|_count|_sum)$", "", name)
            for name in re.findall(r"^(\w+)[ {]", text, re.MULTILINE)
        }
        assert families == told
    assert "featmill_served_log" not in used
    # There before its first event, so that the event is an increase.
    assert 'featmill_degraded_total{reason="deadline",service="churn"} 0.0' in fresh


def test_without_metrics_nothing_is_counted_and_nothing_is_there(shop, monkeypatch):
    made = []
    monkeypatch.setattr("featmill.serving.http.server.Meters", lambda *given: made.append(given))
    with shop.client(metrics=False, log_share=1.0) as client:
        asked(client, "churn", {"user_id": 1})
        answer = client.get("/metrics")
        page = client.get("/").text
        paths = client.get("/openapi.json").json()["paths"]

    assert (answer.status_code, answer.json()["field"]) == (404, "path")
    assert made == []
    assert '<td data-of="service">churn</td>' in page
    assert "metrics" not in page
    assert "answers" not in page
    assert "/metrics" not in paths
    for file in (shop.settings.served_log / "churn").glob("*.parquet"):
        file.unlink()


def test_no_key_is_in_metrics(shop):
    with shop.client() as client:
        asked(client, "churn", {"user_id": 987_654_321})
        asked(client, "churn", {"user_id": "987654321"})
        assert "987654321" not in client.get("/metrics").text


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A shop with a store of its own that is empty."""
    server = EmbeddedServer(tmp_path / "online")
    server.start()
    yield server, Shop(tmp_path, server.target, monkeypatch)
    server.stop()


def test_it_starts_without_a_store_and_recovers_by_itself(alone):
    server, shop = alone
    shop.fill()
    server.stop()
    with shop.client() as client:
        down = client.get("/readyz")
        answer = asked(client, "churn", {"user_id": [1]})
        counted = samples(client)
        server.start()
        up = eventually(lambda: client.get("/readyz"))
        later = eventually(lambda: asked(client, "churn", {"user_id": [1]}), degraded=None)

    assert (down.status_code, down.json()["status"]) == (503, "degraded")
    assert down.json()["problem"]
    # Degraded, and nothing is hidden: 200, the declared default, and why.
    assert answer.status_code == 200
    assert answer.json()["values"] == {"count_7d": [0], "city": [None], "total": [None]}
    assert set(answer.json()["statuses"]["count_7d"]) == {"default"}
    assert answer.headers["x-featmill-degraded"] == answer.json()["degraded"] == "unreachable"
    assert counted['featmill_degraded_total{reason="unreachable",service="churn"}'] == 1
    assert up.json()["status"] == "ready"
    assert later.json()["values"]["count_7d"] == [5]


def test_a_store_without_a_promotion_is_not_ready(alone):
    _, shop = alone
    with shop.client() as client:
        empty = client.get("/readyz")
        answer = asked(client, "churn", {"user_id": [1]})

    assert (empty.status_code, empty.json()["status"]) == (503, "empty")
    assert answer.status_code == 200
    assert answer.json()["degraded"]


def test_a_tenant_without_a_promotion_does_not_take_the_others_away(alone):
    _, shop = alone
    clicks = shop.tables[0]
    shop.export(shop.release(shop.snapshot(clicks, day(2), [(1, day(2), 5, "Bern")])))
    with shop.client() as client:
        ready = client.get("/readyz")

    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["serving"]["shop"]["snapshots"]
    assert ready.json()["serving"]["shop_retail"] is None


def eventually(ask, **wanted):
    """The first answer within ten seconds that is 200 and says what is wanted."""
    import time

    until = time.monotonic() + 10
    while True:
        answer = ask()
        said = answer.json()
        if answer.status_code == 200 and all(said[k] == v for k, v in wanted.items()):
            return answer
        assert time.monotonic() < until, said
        time.sleep(0.1)
