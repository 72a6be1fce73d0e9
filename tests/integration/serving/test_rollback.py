"""Going back: one flip to what the store keeps, or written again as it went live then (rules 12 and 21)."""

from __future__ import annotations

import time

import pytest

from featmill.errors import NotNewer, ParityError, UsageError
from featmill.warehouse import promotions
from featmill.warehouse.promotions import ledger, served
from orchestration import online_steps, promotion
from tests.integration.serving.chain import CLICKS, carrying, day

pytestmark = pytest.mark.redis

ROWS = 500


def rows(number):
    """Every entity says which day it is of; one more entity every day."""
    return [(n, day(number), n * 100 + number, f"day {number}") for n in range(ROWS + number)]


@pytest.fixture
def days(chain):
    """Three releases; nothing online yet."""
    return [chain.publish(CLICKS, day(n), rows(n)) for n in (1, 2, 3)]


@pytest.fixture
def promoted(chain, days):
    """All three went live, one after the other; the store keeps the first two."""
    for release in days:
        chain.promote(release)
    return days


def test_what_is_kept_serves_with_one_flip_and_no_catalogue(chain, promoted, monkeypatch):
    def parsed(_):
        pytest.fail("a rollback parsed the project")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(online_steps, "load_catalog", parsed)
        started = time.perf_counter()
        done = chain.rollback()
        seconds = time.perf_counter() - started

    assert (done.release_id, done.left, done.views) == (promoted[1], promoted[2], ())
    assert chain.served(7) == ("702", '"day 2"')
    assert chain.serving().epoch == 4
    assert chain.generations()["shop__g3"] == (promoted[2], "kept")
    assert seconds < 1
    chain.verify(promoted[1])


def test_a_second_rollback_goes_further_back(chain, promoted):
    chain.rollback()

    done = chain.rollback()

    assert (done.release_id, done.left) == (promoted[0], promoted[1])
    assert chain.served(7) == ("701", '"day 1"')
    with pytest.raises(UsageError, match=f"nothing was live before release {promoted[0]}"):
        chain.rollback()


def test_to_a_release_that_is_named(chain, promoted):
    assert chain.rollback(promoted[0]).release_id == promoted[0]
    assert chain.served(7) == ("701", '"day 1"')
    with pytest.raises(UsageError, match="release 'other' was never live") as caught:
        chain.rollback("other")
    assert promoted[2] in caught.value.hint


def test_to_what_serves_changes_nothing(chain, promoted):
    done = chain.rollback(promoted[2])

    assert (done.release_id, done.left, done.views) == (promoted[2], promoted[2], ())
    assert chain.serving().epoch == 3
    assert chain.ledger()[-1] == ("live", promoted[2])


def test_the_ledger_follows_and_served_training_reads_it(chain, promoted):
    """Rule 12: what production answered after a rollback is what the earlier release holds."""
    chain.rollback()

    assert chain.ledger()[-1] == ("rollback", promoted[1])
    states = served(ledger(chain.registry.lake))
    assert states[-1].live.release_id == promoted[1]
    assert states[-1].since == chain.serving().flipped_at


def test_promoted_again_after_a_rollback_without_writing(chain, promoted):
    chain.rollback()

    with pytest.raises(NotNewer):
        chain.promote(promoted[2])
    done = chain.promote(promoted[2], again=True)

    assert (done.views[0].written, chain.serving().rows_project) == (0, "shop__g3")
    assert chain.served(7) == ("703", '"day 3"')
    assert chain.ledger()[-1] == ("live", promoted[2])


def test_what_the_store_does_not_keep_is_written_again(chain, promoted):
    chain.settings = chain.settings.model_copy(update={"keep_generations": 0})
    promotion.clean(chain.settings)
    assert list(chain.generations()) == ["shop__g3"]

    done = chain.rollback()

    assert (done.views[0].written, done.release_id) == (ROWS + 2, promoted[1])
    assert chain.served(7) == ("702", '"day 2"')
    chain.verify(promoted[1])


def test_in_place_only_the_difference_is_written(chain, days):
    """A rollback is a newer epoch, so it wins over the newer rows (rule 21)."""
    last = rows(3)
    changed = chain.publish(CLICKS, day(4), [(5, day(4), 1, "changed"), *last[:5], *last[6:]])
    chain.promote(days[2], mode="in_place")
    chain.promote(changed, mode="in_place")
    assert chain.served(5) == ("1", '"changed"')

    done = chain.rollback()

    assert done.views[0].written == 1
    assert (chain.serving().mode, chain.serving().is_complete) == ("in_place", True)
    assert (chain.serving().epoch, chain.serving().release_id) == (3, days[2])
    assert chain.served(5) == ("503", '"day 3"')
    assert chain.ledger()[-1] == ("rollback", days[2])


def test_in_place_what_came_since_is_taken_away(chain, days):
    chain.promote(days[0], mode="in_place")
    chain.promote(days[2], mode="in_place")
    assert chain.served(ROWS + 2) is not None

    chain.rollback()

    assert chain.served(ROWS + 2) is None
    assert chain.keys() == ROWS + 1
    chain.verify(days[0])


def test_it_is_written_as_it_went_live_and_not_as_it_would_now(chain):
    """Rule 12: a backfill is never served in retrospect, a rollback included."""
    chain.tables = (carrying(CLICKS, "city"),)
    first = chain.publish(CLICKS, day(3), [(1, day(3), 10, None)])
    chain.promote(first, mode="in_place")
    chain.promote(chain.publish(CLICKS, day(4), [(1, day(4), 11, "b")]), mode="in_place")
    chain.publish(CLICKS, day(1), [(1, day(1), 9, "filled since")])

    chain.rollback()

    assert chain.served(1) == ("10", "NULL")
    assert chain.serving().read_at == ledger(chain.registry.lake)[0].read_at
    with pytest.raises(ParityError, match='published "filled since", online NULL'):
        chain.verify(first)


def test_before_anything_went_live_there_is_nothing_to_go_back_to(chain, days):
    with pytest.raises(UsageError, match="nothing has ever gone live"):
        chain.rollback()
    chain.promote(days[0])
    with pytest.raises(UsageError, match="nothing was live before"):
        chain.rollback()
    assert chain.ledger() == [("live", days[0])]


def test_a_rollback_after_a_lost_store_writes_again(chain, promoted):
    with chain.target.client() as client:
        client.flushall()

    done = chain.rollback()

    assert done.release_id == promoted[1]
    assert chain.served(7) == ("702", '"day 2"')
    assert promotions.ledger(chain.registry.lake)[-1].kind == "rollback"
