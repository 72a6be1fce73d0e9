"""The store lost rows, or somebody else wrote them: found by a comparison, mended by a promotion (rule 21)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from featmill import clock
from featmill.errors import ParityError
from orchestration import online_views, promotion, publication
from tests.integration.serving.chain import CLICKS, day

pytestmark = pytest.mark.redis

ROWS = 50


def rows(number):
    """Every entity says which day it is of."""
    return [(n, day(number), n * 100 + number, f"day {number}") for n in range(ROWS)]


@pytest.fixture
def days(chain):
    """Two releases; nothing online yet."""
    return [chain.publish(CLICKS, day(n), rows(n)) for n in (1, 2)]


@pytest.fixture
def generations(chain):
    """A chain whose exports write a generation."""
    chain.settings = chain.settings.model_copy(update={"publish_mode": "generation"})
    return chain


@pytest.mark.parametrize("mode", ["in_place", "generation"])
def test_what_serves_is_repaired_as_the_hint_says(chain, days, mode):
    chain.promote(days[1], mode=mode)
    chain.lose(3)
    with pytest.raises(ParityError) as caught:
        chain.verify()
    assert f"featmill promote --force --again --release {days[1]}" in caught.value.hint

    done = chain.promote(days[1], mode=mode, again=True, force=True)

    assert (done.views[0].written, done.flipped) == (ROWS, True)
    assert chain.served(3) == ("302", '"day 2"')
    assert chain.serving().is_complete
    chain.verify()


def test_what_a_forced_export_wrote_is_preferred_to_what_serves(generations, days):
    chain = generations
    chain.promote()
    chain.lose(3)

    chain.export(force=True)
    assert chain.generations()["shop__g2"] == (days[1], "ready")
    assert chain.promote().flipped

    assert chain.serving().rows_project == "shop__g2"
    assert chain.served(3) == ("302", '"day 2"')
    chain.verify()


def test_what_waited_from_before_the_flip_is_not(generations, days, monkeypatch):
    """A generation that was left by a run before what serves is older than it, also until it is removed."""
    chain = generations
    monkeypatch.setattr(promotion, "_clean", lambda *_: ())
    chain.promote(days[0])
    chain.export(days[1])
    waiting = chain.generations()
    assert waiting["shop__g2"] == (days[1], "ready")
    chain.promote(days[1], force=True)
    serving = chain.serving().rows_project
    assert serving == "shop__g3"

    assert chain.generations()["shop__g2"] == (days[1], "ready")
    assert not chain.promote(days[1]).flipped
    assert chain.serving().rows_project == serving


def test_in_place_the_run_after_a_failed_proof_writes_every_row(chain, days):
    """The records of the first run say that all is there: they are not believed again."""
    chain.promote(days[0], mode="in_place")
    write = online_views.write_view

    def losing(*given):
        done = write(*given)
        chain.lose(3)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publication, "write_view", losing)
        with pytest.raises(ParityError) as caught:
            chain.promote(days[1], mode="in_place")
    assert "run the command again" in caught.value.hint
    assert not chain.serving().is_complete

    done = chain.promote(mode="in_place")

    assert done.views[0].written == ROWS
    assert chain.served(3) == ("302", '"day 2"')
    assert chain.serving().is_complete
    chain.verify()
    assert chain.promote(mode="in_place").views[0].unchanged


def test_what_was_proven_long_ago_is_compared_again(generations, days, monkeypatch):
    chain = generations
    chain.promote(days[0])
    chain.export(days[1])
    chain.lose(3, "shop__g2")
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(minutes=10))

    with pytest.raises(ParityError, match="clicks: 1 differences"):
        chain.promote(days[1])

    assert chain.served(3) == ("301", '"day 1"')
    assert chain.promote(days[1]).flipped
    assert chain.served(3) == ("302", '"day 2"')


def test_what_is_equal_after_a_while_serves_without_being_written(generations, days, monkeypatch):
    chain = generations
    chain.export(days[1])
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(minutes=10))

    done = chain.promote(days[1])

    assert (done.views[0].written, done.reports[0].checked_entities) == (0, ROWS)
    assert chain.serving().rows_project == "shop__g1"
