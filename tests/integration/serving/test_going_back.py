"""Back to a release of other declarations, or that the store only seems to keep (rules 12 and 21)."""

from __future__ import annotations

import pytest

from exporters.redis.generations import settle_live
from featmill.online.live import read_live
from featmill.online.serving_state import PublishMode
from featmill.warehouse import promotions
from orchestration import going_back, promotion, publication
from tests.integration.serving.chain import CLICKS, ORDERS, day
from tests.integration.serving.kills import POINTS, Killed, killed
from tests.unit.online.tables import feature_table

pytestmark = pytest.mark.redis

EARLIER = feature_table("clicks", features={"count_7d": "BIGINT"})
EU = ORDERS.model_copy(update={"tenant": "eu"})


def both(chain, number, other=ORDERS):
    """Release a snapshot of each of the two tables."""
    clicks = chain.snapshot(CLICKS, day(number), [(1, day(number), number, f"day {number}")])
    orders = chain.snapshot(other, day(number), [(1, day(number), number / 2)])
    return chain.release(clicks, orders)


@pytest.mark.parametrize("mode", ["in_place", "generation"])
def test_to_before_a_feature_was_added(chain, mode):
    """What the release holds is written; of what it lacks the field is absent and no record names it."""
    chain.settings = chain.settings.model_copy(update={"keep_generations": 0})
    chain.tables = (EARLIER,)
    first = chain.publish(EARLIER, day(1), [(1, day(1), 1)])
    chain.promote(mode=mode)
    chain.tables = (CLICKS,)
    chain.publish(CLICKS, day(2), [(1, day(2), 2, "a")])
    chain.promote(mode=mode)

    done = chain.rollback()

    assert (done.release_id, done.views[0].written) == (first, 1)
    assert chain.served(1, table=EARLIER) == ("1",)
    assert chain.served(1)[0] == "1"
    record = read_live(chain.target, chain.serving().rows_project)["clicks"]
    assert record.features == ("count_7d",)
    with chain.target.client() as client:
        rows = chain.serving().rows_project.encode()
        (key,) = [k for k in client.scan_iter() if k.endswith(rows)]
        assert client.hlen(key) == 2, "the value and the event time"
    assert chain.verify().release_id == first
    chain.verify(first)
    again = chain.publish(CLICKS, day(3), [(1, day(3), 3, "c")])
    chain.promote(mode=mode)
    assert chain.served(1) == ("3", '"c"')
    chain.verify(again)


def test_in_place_to_before_a_table_was_online(chain):
    """The ledger says what serves: the release has the table, but it did not go online then."""
    chain.tables = (CLICKS,)
    first = both(chain, 1)
    chain.promote(mode="in_place")
    chain.tables = (CLICKS, ORDERS)
    both(chain, 2)
    chain.promote(mode="in_place")

    chain.rollback()

    assert sorted(chain.serving().views) == ["clicks"]
    assert chain.served(1, table=ORDERS) is None
    (*_, last) = promotions.served(promotions.ledger(chain.registry.lake))
    assert (last.live.release_id, sorted(last.live.snapshots)) == (first, ["clicks"])
    chain.verify()
    chain.verify(first)


def test_in_place_to_when_a_table_was_declared_that_is_not_any_more(chain):
    chain.tables = (CLICKS, ORDERS)
    both(chain, 1)
    chain.promote(mode="in_place")
    chain.tables = (CLICKS,)
    both(chain, 2)
    chain.promote(mode="in_place")

    chain.rollback()

    assert sorted(chain.serving().views) == ["clicks"]
    (*_, last) = promotions.served(promotions.ledger(chain.registry.lake))
    assert (last.live.epoch, sorted(last.live.snapshots)) == (1, ["clicks"])


def test_what_was_removed_between_the_look_and_the_flip_is_written_again(chain, monkeypatch):
    chain.settings = chain.settings.model_copy(update={"keep_generations": 5})
    for n in (1, 2):
        chain.publish(CLICKS, day(n), [(1, day(n), n, f"day {n}")])
        chain.promote()

    def cleaned(*given):
        settle_live(*given)
        settings = chain.settings.model_copy(update={"keep_generations": 0})
        assert [gone.rows_project for gone in promotion.clean(settings)] == ["shop__g1"]

    monkeypatch.setattr(going_back, "settle_live", cleaned)
    done = chain.rollback()

    assert done.views[0].written == 1
    assert chain.served(1) == ("1", '"day 1"')
    assert chain.serving().is_complete
    chain.verify()


def test_what_is_kept_without_its_records_is_written_again(chain):
    for n in (1, 2):
        chain.publish(CLICKS, day(n), [(1, day(n), n, f"day {n}")])
        chain.promote()
    with chain.target.client() as client:
        client.delete(b"featmill:shop__g1:live")

    done = chain.rollback()

    assert done.views[0].written == 1
    assert chain.served(1) == ("1", '"day 1"')


def test_what_is_kept_of_another_reading_of_the_release_is_not_it(chain):
    """Rule 12: it went live twice, with a corrected history the second time; that is what the ledger says."""
    chain.publish(CLICKS, day(1), [(1, day(1), 10, "a"), (2, day(1), 20, "a")])
    second = chain.publish(CLICKS, day(2), [(1, day(2), 11, "b"), (2, day(0), 5, "old")])
    chain.promote(second)
    chain.publish(CLICKS, day(1), [(1, day(1), 10, "a"), (2, day(1), 99, "corrected")])
    chain.promote(second, mode="in_place", again=True)
    chain.publish(CLICKS, day(3), [(1, day(3), 13, "c"), (2, day(3), 7, "c")])
    chain.promote(mode="in_place")

    chain.rollback()

    assert chain.served(2) == ("99", '"corrected"')
    (*_, last) = promotions.served(promotions.ledger(chain.registry.lake))
    assert chain.serving().read_at == last.live.read_at


def test_the_release_that_serves_half_is_not_back_yet(chain):
    """In place a rollback that was killed has flipped nothing: the state names the release before it is whole."""
    for n in (1, 2):
        chain.publish(CLICKS, day(n), [(k, day(n), n, f"day {n}") for k in range(300)])
        chain.promote(mode="in_place")
    with pytest.MonkeyPatch.context() as patch:
        POINTS["during the rows"](patch, killed)
        with pytest.raises(Killed):
            chain.rollback()
    assert not chain.serving().is_complete

    chain.rollback()

    assert chain.serving().is_complete
    assert {chain.served(k)[0] for k in range(0, 300, 7)} == {"1"}
    chain.verify()


def test_tenants_that_differ_in_mode_go_back_as_generations(chain, monkeypatch):
    chain.settings = chain.settings.model_copy(update={"keep_generations": 0})
    chain.tables = (CLICKS, EU)
    both(chain, 1, EU)
    chain.promote(mode="in_place")
    both(chain, 2, EU)
    chain.promote(mode="in_place")
    with monkeypatch.context() as patch:
        POINTS["after the flip"](patch, killed)
        with pytest.raises(Killed):
            chain.promote(mode="generation", again=True)
    modes = {p: chain.serving(p).mode for p in ("shop", "shop_eu")}
    assert set(modes.values()) == {PublishMode.GENERATION, PublishMode.IN_PLACE}
    made = []
    original = publication.Publication

    def made_as(step, mode, **more):
        made.append(mode)
        return original(step, mode, **more)

    monkeypatch.setattr(going_back, "Publication", made_as)

    chain.rollback()

    assert made == [PublishMode.GENERATION]
    assert chain.served(1) == ("1", '"day 1"')
    assert chain.served(1, project="shop_eu", table=EU) == ("0.5",)
