"""`featmill read`: a table for a person, JSON for a program, and a clear error for a mistake."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from featmill.cli.main import app
from featmill.errors import RequestError, UsageError
from orchestration import tasks
from tests.integration.serving.stored import NOON, PRODUCTS, USERS, Stored, service, with_defaults

pytestmark = pytest.mark.redis


@pytest.fixture
def run(store, monkeypatch, tmp_path):
    """The command over two users and a product; its service has the deadline of a server, and a cache."""
    table = with_defaults(USERS, city="nowhere")
    stored = Stored(
        store, [table, PRODUCTS], [service("users:visits", "users:city", "products:price")]
    )
    stored.put(table, (1, NOON, 5, "Bonn", 0.5), (2, NOON, 6, None, 0.5))
    stored.put(PRODUCTS, (7, NOON, 2.5))
    stored.serve()
    monkeypatch.setattr(tasks, "load_catalog", lambda _: stored.catalog)
    monkeypatch.setenv("FEATMILL_REDIS_URL", f"unix://{store.socket_path}")
    monkeypatch.setenv("FEATMILL_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments):
        return CliRunner().invoke(app, ["read", "ranking", *arguments])

    return call


def test_a_person_gets_a_table(run, capsys):
    found = run("user_id=1,3", "product_id=7", "--at", "2026-03-02T13:00:00+00:00")

    assert found.exit_code == 0, found.output
    lines = [line.split("│")[1:-1] for line in found.output.splitlines() if "│" in line]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["1", "7", "visits", "5", "ok", "1 d 1 h", "s1"],
        ["1", "7", "city", "Bonn", "ok", "1 d 1 h", "s1"],
        ["1", "7", "price", "2.5", "ok", "1 d 1 h", "s1"],
        ["3", "7", "visits", "NULL", "missing", "", "s1"],
        ["3", "7", "city", "nowhere", "default", "", "s1"],
        ["3", "7", "price", "2.5", "ok", "1 d 1 h", "s1"],
    ]


def test_a_program_gets_json(run):
    found = run("user_id=2", "product_id=7", "--json", "--at", "2026-03-01T12:00:00+00:00")

    answer = json.loads(found.stdout)
    assert answer["values"] == {"visits": [6], "city": [None], "price": [2.5]}
    assert (answer["as_of"], answer["degraded"]) == ("2026-03-01T12:00:00+00:00", None)


def test_a_store_without_what_was_promoted_is_named(run, store):
    with store.client() as client:
        client.flushall()

    found = run("user_id=1", "product_id=7", "--json")

    assert json.loads(found.stdout)["statuses"]["visits"] == ["default"]
    assert "degraded: empty: the store does not hold what was promoted to shop" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["user_id"], UsageError, "user_id is not name=value"),
        (["user_id=x", "product_id=7"], UsageError, "user_id=x: expected BIGINT"),
        (["user_id=1"], RequestError, "keys.product_id is missing"),
        (["user_id=1", "product_id=7", "city=x"], RequestError, "keys.city is not of this service"),
    ],
)
def test_a_mistake_is_refused_by_name(run, arguments, error, message):
    found = run(*arguments)

    assert isinstance(found.exception, error)
    assert found.exception.message == message


def test_an_unknown_service_is_refused(run):
    found = CliRunner().invoke(app, ["read", "other", "user_id=1"])

    assert isinstance(found.exception, UsageError)
    assert "no feature service 'other'" in found.exception.message
