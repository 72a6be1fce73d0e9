"""POST /features: what is answered, in each form."""

from __future__ import annotations

import base64

import pyarrow as pa
import pytest

from tests.integration.serving.chain import day

ARROW = "application/vnd.apache.arrow.stream"
pytestmark = pytest.mark.redis


def asked(client, service, keys, **more):
    headers = more.pop("headers", {})
    return client.post(
        "/features", json={"service": service, "keys": keys, **more}, headers=headers
    )


def test_columns_have_values_statuses_ages_and_snapshots(client):
    answer = asked(client, "churn", {"user_id": [1, 2, 3, 4]})

    assert answer.status_code == 200
    found = answer.json()
    assert found["values"] == {
        "count_7d": [5, 0, 7, 0],
        "city": ["Bern", None, None, None],
        "total": [1.5, None, None, None],
    }
    assert found["statuses"] == {
        "count_7d": ["ok", "default", "ok", "default"],
        "city": ["ok", "expired", "ok", "missing"],
        "total": ["ok", "missing", "ok", "missing"],
    }
    assert found["keys"] == {"user_id": [1, 2, 3, 4]}
    assert found["as_of"] == "2026-03-03T12:00:00Z"
    assert found["degraded"] is None
    clicks = found["views"]["clicks"]
    assert clicks["statuses"] == ["ok", "expired", "ok", "missing"]
    assert clicks["ages"] == [86_400.0, 172_800.0, 86_400.0, None]
    assert clicks["event_at"][0] == "2026-03-02T12:00:00Z"
    assert clicks["event_at"][3] is None
    assert clicks["snapshot"].startswith("20260302T120000Z-")
    assert clicks["release"]


def test_rows_say_the_same_as_columns(client):
    columns = asked(client, "churn", {"user_id": [1, 2, 3, 4]}).json()
    rows = asked(client, "churn", {"user_id": [1, 2, 3, 4]}, format="rows").json()

    assert len(rows["rows"]) == 4
    for at, row in enumerate(rows["rows"]):
        for part in ("keys", "values", "statuses"):
            assert row[part] == {name: column[at] for name, column in columns[part].items()}
        for name, view in columns["views"].items():
            assert row["views"][name] == {
                "status": view["statuses"][at],
                "event_at": view["event_at"][at],
                "age": view["ages"][at],
            }
            assert rows["views"][name] == {"snapshot": view["snapshot"], "release": view["release"]}


def test_arrow_says_the_same_as_columns(client):
    columns = asked(client, "churn", {"user_id": [1, 2, 3, 4]}).json()
    answer = asked(client, "churn", {"user_id": [1, 2, 3, 4]}, headers={"accept": ARROW})

    assert answer.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(answer.content).read_all()
    for name, values in columns["values"].items():
        assert table.column(name).to_pylist() == values
        assert table.column(f"{name}__status").to_pylist() == columns["statuses"][name]
    assert table.schema.metadata[b"service"] == b"churn"


def test_one_value_is_one_row(client):
    found = asked(client, "churn", {"user_id": 1}).json()

    assert found["values"]["count_7d"] == [5]
    assert found["keys"] == {"user_id": [1]}


def test_every_type_of_the_table_has_its_form(client):
    keys = {"at": [day(1).isoformat()], "code": "x"}
    found = asked(client, "typed", keys).json()

    assert found["statuses"]["flag"] == ["ok"]
    assert found["values"] == {
        "flag": [True],
        "small": [-7],
        "big": [2**53 + 1],
        "ratio": ["Infinity"],
        "city": ["Zürich"],
        "raw": [base64.b64encode(b"\x00\xff").decode()],
        "born": ["2026-03-01"],
        "seen": ["2026-03-01T12:00:00Z"],
        "exact": ["12345678901234567890.50"],
        "tags": [["a", "b"]],
    }
    row = asked(client, "typed", keys, format="rows").json()["rows"][0]
    assert row["values"] == {name: column[0] for name, column in found["values"].items()}


def test_request_fields_are_read_by_their_types(client):
    found = asked(
        client,
        "priced",
        {"user_id": [1, 1]},
        request={"price": [1.5, 2], "seen_at": "2026-03-01T00:00:00+01:00"},
    ).json()

    assert found["values"] == {
        "clicks__count_7d": [5, 5],
        "orders__count_7d": [11, 11],
        "double_price": [3.0, 4.0],
    }


def test_a_thousand_entities_are_answered_in_order(client):
    users = [1 + number % 4 for number in range(1_000)]
    found = asked(client, "churn", {"user_id": users}).json()

    assert found["values"]["count_7d"] == [(5, 0, 7, 0)[user - 1] for user in users]


def test_a_request_id_is_taken_or_made(client):
    given = asked(client, "churn", {"user_id": 1}, headers={"x-request-id": "abc-1"})
    made = [asked(client, "churn", {"user_id": 1}).headers["x-request-id"] for _ in range(2)]
    bad = asked(client, "churn", {"user_id": 1}, headers={"x-request-id": "no spaces here"})

    assert given.headers["x-request-id"] == "abc-1"
    assert len({*made}) == 2
    assert bad.headers["x-request-id"] != "no spaces here"
