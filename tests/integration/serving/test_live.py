"""`featmill live`: what serves, asked of the store alone (rule 21: what is half there says so)."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from featmill import clock
from featmill.cli.main import app
from featmill.cli.promote import age, live_tables
from featmill.errors import OnlineUnreachable
from featmill.settings import Settings
from orchestration.live_projects import live
from tests.integration.serving.chain import CLICKS, ORDERS, day
from tests.integration.serving.kills import POINTS, Killed, killed

pytestmark = pytest.mark.redis

ROWS = 300


@pytest.fixture
def days(chain):
    """Two releases of two views."""
    chain.tables = (CLICKS, ORDERS)
    found = []
    for n in (1, 2):
        clicks = chain.snapshot(CLICKS, day(n), [(k, day(n), n, "a") for k in range(ROWS)])
        orders = chain.snapshot(ORDERS, day(n), [(k, day(n), n / 2) for k in range(ROWS // 2)])
        found.append(chain.release(clicks, orders))
    return found


def shown(one):
    """The tables as text."""
    from rich.console import Console

    written = io.StringIO()
    console = Console(width=200, file=written)
    for table in live_tables(one):
        console.print(table)
    return written.getvalue()


def test_what_serves_and_what_is_kept(chain, days):
    for release in days:
        chain.promote(release)

    with clock.frozen(day(2) + timedelta(days=3, hours=4)):
        (one,) = live(chain.settings)

    assert (one.project, one.mode, one.rows_project, one.epoch) == (
        "shop",
        "generation",
        "shop__g2",
        2,
    )
    assert (one.release_id, one.as_of, one.is_complete) == (days[1], day(2), True)
    assert (one.age, one.since) == (timedelta(days=3, hours=4), chain.serving().flipped_at)
    clicks, orders = one.views
    assert (clicks.entities, orders.entities) == (ROWS, ROWS // 2)
    assert clicks.snapshot_id == chain.registry.find(days[1]).snapshots["clicks"]
    (kept,) = one.generations
    assert (kept.rows_project, kept.state, kept.release_id) == ("shop__g1", "kept", days[0])
    text = shown(one)
    assert "3 d 4 h ago" in text
    assert "kept" in text


def test_memory_is_near_what_the_server_says(chain, days):
    chain.promote(days[0])

    (one,) = live(chain.settings)

    with chain.target.client() as client:
        keys = [key for key in client.scan_iter(count=1_000) if not key.startswith(b"featmill:")]
        true = sum(client.memory_usage(key) for key in keys)
    estimated = sum(view.bytes or 0 for view in one.views)
    assert 0.8 < estimated / true < 1.5


def test_what_is_replaced_in_place_is_incomplete(chain, days):
    chain.promote(days[0], mode="in_place")
    with pytest.MonkeyPatch.context() as patch:
        POINTS["during the rows"](patch, killed)
        with pytest.raises(Killed):
            chain.promote(days[1], mode="in_place")

    (one,) = live(chain.settings)

    clicks, orders = one.views
    assert (one.is_complete, clicks.is_complete, orders.is_complete) == (False, False, True)
    assert clicks.snapshot_id is None
    assert "incomplete: row" in shown(one)
    assert "INCOMPLETE" in shown(one)


def test_nothing_was_promoted(chain, days):
    assert live(chain.settings) == []


def test_an_embedded_store_that_does_not_run_serves_nothing(tmp_path):
    with pytest.raises(OnlineUnreachable, match="does not run"):
        live(Settings(project_dir=tmp_path, home=tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_as_json(chain, days, monkeypatch):
    chain.promote(days[0])
    monkeypatch.setenv("FEATMILL_HOME", str(chain.settings.home_dir))
    monkeypatch.setenv("FEATMILL_REDIS_URL", chain.settings.redis_url)

    done = CliRunner().invoke(app, ["live", "--json"])

    assert done.exit_code == 0, done.output
    (one,) = json.loads(done.stdout)
    assert (one["release_id"], one["is_complete"]) == (days[0], True)
    assert one["as_of"] == day(1).isoformat()
    assert one["views"][0]["entities"] == ROWS


def test_the_commands_move_forward_and_back(chain, days, monkeypatch):
    monkeypatch.setenv("FEATMILL_HOME", str(chain.settings.home_dir))
    monkeypatch.setenv("FEATMILL_REDIS_URL", chain.settings.redis_url)
    monkeypatch.setenv("FEATMILL_PUBLISH_MODE", "generation")
    run = CliRunner().invoke

    for release in days:
        done = run(app, ["promote", "--release", release, "--no-feast"])
        assert done.exit_code == 0, done.output
        assert f"{release} serves" in done.output
    back = run(app, ["rollback"])
    assert f"{days[0]} serves again, instead of {days[1]}" in back.output
    refused = run(app, ["promote", "--release", days[1], "--no-feast"])
    assert refused.exit_code == 1
    assert "went live" in refused.exception.message
    assert f"does not serve any more; live is {days[0]}" in refused.exception.message
    again = run(app, ["promote", "--release", days[1], "--again", "--no-feast"])
    assert again.exit_code == 0, again.output
    monkeypatch.setenv("FEATMILL_KEEP_GENERATIONS", "0")
    cleaned = run(app, ["promote", "--clean"])
    assert "removed shop__g1: 300 entities" in cleaned.output
    assert "nothing to remove" in run(app, ["promote", "--clean"]).output
    table = run(app, ["live"])
    assert days[1] in table.output


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=61), "1 min 1 s"),
        (timedelta(hours=2), "2 h"),
        (timedelta(days=3, minutes=5), "3 d"),
        (timedelta(days=400, hours=23, minutes=59), "400 d 23 h"),
        (timedelta(seconds=-5), "0 s"),
    ],
)
def test_an_age_in_words(given, said):
    assert age(given) == said
