"""Going live by generation: a whole set of rows beside the live one, proven, then one flip (rule 21)."""

from __future__ import annotations

import pytest

from exporters.redis import generations as generations_module
from exporters.redis.removal import RemovedGeneration
from featmill.errors import ContractError, NotNewer, OnlineRefused, ParityError
from featmill.online import serving_state
from featmill.online.live import read_live
from featmill.warehouse import promotions
from orchestration import online_steps, online_views, promotion, publication
from tests.integration.serving.chain import CLICKS, ORDERS, day

pytestmark = pytest.mark.redis

ROWS = 700


def rows(number, count=ROWS, *, at=None):
    """Every entity says which day it is of."""
    return [(n, day(at or number), n * 100 + number, f"day {number}") for n in range(count)]


@pytest.fixture
def days(chain):
    """Three releases of one table; nothing online yet."""
    return [chain.publish(CLICKS, day(n), rows(n)) for n in (1, 2, 3)]


def test_a_generation_is_written_beside_what_serves_and_then_serves(chain, days):
    first = chain.promote(days[0])
    before = chain.serving()

    second = chain.promote(days[1])

    assert (first.flipped, second.flipped) == (True, True)
    assert before.rows_project == "shop__g1"
    assert chain.serving().rows_project == "shop__g2"
    assert (chain.serving().epoch, chain.serving().is_complete) == (2, True)
    assert chain.generations() == {
        "shop__g1": (days[0], "kept"),
        "shop__g2": (days[1], "live"),
    }
    assert (chain.entities("shop__g1"), chain.entities("shop__g2"), chain.entities("shop")) == (
        ROWS,
        ROWS,
        0,
    )
    assert chain.served(7) == ("702", '"day 2"')
    assert second.reports[0].checked_entities == ROWS
    assert chain.ledger() == [("live", days[0]), ("live", days[1])]
    chain.verify(days[1])
    chain.verify(days[0])


def test_promoting_what_serves_changes_nothing(chain, days):
    chain.promote(days[2])
    version = serving_state.read_serving(chain.target, "shop").version

    again = chain.promote(days[2])

    assert (again.flipped, again.reports, again.views[0].unchanged) == (False, (), True)
    assert serving_state.read_serving(chain.target, "shop").version == version
    assert chain.ledger() == [("live", days[2])]


def test_an_export_writes_a_generation_and_a_promotion_flips_without_writing(chain, days):
    chain.promote(days[0])
    chain.settings = chain.settings.model_copy(update={"publish_mode": "generation"})

    exported = chain.export(days[1])

    assert (exported.is_live, exported.views[0].written) == (False, ROWS)
    assert chain.served(7) == ("701", '"day 1"')
    assert chain.generations()["shop__g2"] == (days[1], "ready")
    assert chain.ledger() == [("live", days[0])]
    chain.verify(days[1])
    promoted = chain.promote(days[1])
    assert (promoted.views[0].unchanged, promoted.reports, promoted.flipped) == (True, (), True)
    assert chain.served(7) == ("702", '"day 2"')
    assert chain.ledger() == [("live", days[0]), ("live", days[1])]


def test_what_is_not_newer_than_what_was_promoted_is_refused(chain, days):
    chain.promote(days[1])

    with pytest.raises(
        NotNewer, match=f"{days[0]}.*does not come after {days[1]}, which went live"
    ):
        chain.promote(days[0])

    assert chain.served(7) == ("702", '"day 2"')
    assert chain.promote(days[0], again=True).flipped
    assert chain.served(7) == ("701", '"day 1"')


def test_a_retried_promotion_does_not_undo_a_rollback(chain, days):
    """Rule 21: also where the retry is of what the rollback left, or exports the newest in place."""
    chain.promote(days[0])
    chain.promote(days[2])
    chain.rollback()

    for retried in (days[2], None):
        with pytest.raises(NotNewer, match=f"live is {days[0]}") as caught:
            chain.promote(retried)
        assert "featmill promote --again" in caught.value.hint
    with pytest.raises(NotNewer):
        chain.export()

    assert chain.served(7) == ("701", '"day 1"')
    newer = chain.publish(CLICKS, day(4), rows(4))
    chain.promote(newer)
    assert chain.served(7) == ("704", '"day 4"')


def test_a_later_release_that_went_live_meanwhile_is_not_left_for_an_older(chain, days):
    """The older run began later, so its epoch is the greater: the order of releases decides all the same."""
    chain.promote(days[0])
    compare = online_views.compare_view

    def overtaken(*given):
        patch.setattr(publication, "compare_view", compare)
        patch.setattr(publication, "next_epoch", lambda *_: 9)
        chain.promote(days[2])
        return compare(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publication, "next_epoch", lambda *_: 10)
        patch.setattr(publication, "compare_view", overtaken)
        with pytest.raises(NotNewer, match=f"live is {days[2]}"):
            chain.promote(days[1])

    assert chain.served(7) == ("703", '"day 3"')


def test_a_correction_of_the_same_moment_is_newer(chain, days):
    chain.promote(days[2])
    corrected = chain.publish(CLICKS, day(3), rows(9, at=3))

    assert chain.promote(corrected).flipped
    assert chain.served(1) == ("109", '"day 9"')


def test_a_generation_that_is_not_what_was_published_does_not_serve(chain, days, monkeypatch):
    chain.promote(days[0])

    def spoil(*given):
        done = write_view(*given)
        with chain.target.client() as client:
            key = next(k for k in client.scan_iter(count=10_000) if k.endswith(b"shop__g2"))
            client.hset(key, client.hkeys(key)[0], b"\x20\x01")
        return done

    write_view = online_views.write_view
    with monkeypatch.context() as patch:
        patch.setattr(publication, "write_view", spoil)
        with pytest.raises(ParityError, match="clicks: 1 differences") as caught:
            chain.promote(days[1])

    assert "run the command again" in caught.value.hint
    assert chain.served(7) == ("701", '"day 1"')
    assert chain.generations()["shop__g2"] == (days[1], "removing")
    assert chain.ledger() == [("live", days[0])]
    assert chain.promote(days[1]).flipped
    assert chain.generations() == {"shop__g1": (days[0], "kept"), "shop__g3": (days[1], "live")}
    assert chain.entities("shop__g2") == 0


def test_only_the_last_generations_are_kept(chain, days):
    chain.settings = chain.settings.model_copy(update={"keep_generations": 1})
    chain.promote(days[0])
    chain.promote(days[1])

    third = chain.promote(days[2])

    assert third.removed == (RemovedGeneration("shop", "shop__g1", ROWS),)
    assert chain.generations() == {
        "shop__g2": (days[1], "kept"),
        "shop__g3": (days[2], "live"),
    }
    assert (chain.entities("shop__g1"), chain.keys()) == (0, 2 * ROWS)
    assert read_live(chain.target, "shop__g1") == {}
    assert serving_state.removal_claims(chain.target, "shop") == {}


def test_an_abandoned_generation_is_removed_with_the_next_promotion(chain, days):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publication, "compare_view", lambda *_: pytest.fail("stop here"))
        with pytest.raises(pytest.fail.Exception):
            chain.promote(days[0])
    assert chain.generations() == {"shop__g1": (days[0], "building")}

    chain.promote(days[1])

    assert chain.generations() == {"shop__g2": (days[1], "live")}
    assert chain.entities("shop__g1") == 0


def test_a_removal_that_was_killed_is_finished_by_the_next(chain, days):
    for release in days:
        chain.promote(release)
    chain.settings = chain.settings.model_copy(update={"keep_generations": 0})

    class Killed(BaseException):
        pass

    def killed(view, gone, _total):
        if gone > 0:
            raise Killed

    with pytest.raises(Killed):
        promotion.clean(chain.settings, killed)
    assert 0 < chain.entities("shop__g2") < ROWS
    assert chain.generations()["shop__g2"] == (days[1], "removing")

    done = promotion.clean(chain.settings)

    assert sorted(gone.rows_project for gone in done) == ["shop__g1", "shop__g2"]
    assert chain.generations() == {"shop__g3": (days[2], "live")}
    assert chain.keys() == ROWS


def test_what_serves_is_never_removed_and_what_is_removed_never_serves(chain, days):
    chain.promote(days[0])
    chain.promote(days[1])
    state = chain.serving()

    assert serving_state.claim_removal(chain.target, "shop", state.rows_project, "me") is None
    assert serving_state.claim_removal(chain.target, "shop", "shop__g1", "me") == b""

    kept = generations_module.read_generations(chain.target, "shop", state)["shop__g1"]
    with pytest.raises(OnlineRefused, match="are being removed"):
        generations_module.make_live(chain.target, "shop", kept, 9)
    assert chain.rollback().views[0].written == ROWS
    assert chain.served(7) == ("701", '"day 1"')


def test_a_later_epoch_wins(chain, days):
    chain.promote(days[0])
    late = chain.serving()
    chain.promote(days[1])

    with pytest.raises(OnlineRefused, match="epoch 1 came too late"):
        serving_state.put_state(chain.target, "shop", late)

    assert chain.served(7) == ("702", '"day 2"')


def test_from_in_place_to_generations_and_back(chain, days):
    """The rows in place count as one generation."""
    chain.promote(days[0], mode="in_place")
    assert chain.serving().rows_project == "shop"
    assert chain.generations() == {"shop": (days[0], "live")}

    chain.promote(days[1])

    assert chain.generations() == {"shop": (days[0], "kept"), "shop__g2": (days[1], "live")}
    rolled_back = chain.rollback()
    assert (rolled_back.views, chain.serving().mode) == ((), "in_place")
    assert chain.served(7) == ("701", '"day 1"')
    chain.promote(days[2], mode="in_place")
    assert (chain.served(7), chain.serving().rows_project) == (("703", '"day 3"'), "shop")
    chain.verify()


def test_back_in_place_beside_a_live_generation_nobody_sees_it_before_the_flip(
    chain, days, monkeypatch
):
    chain.promote(days[0], mode="in_place")
    chain.promote(days[1])
    seen = []
    compare = online_views.compare_view

    def watched(*given):
        seen.append((chain.served(7), chain.serving().is_complete))
        return compare(*given)

    monkeypatch.setattr(publication, "compare_view", watched)
    chain.promote(days[2], mode="in_place")

    assert seen == [(("702", '"day 2"'), True)]
    assert chain.served(7) == ("703", '"day 3"')


def test_the_rows_in_place_are_removed_when_they_are_kept_no_more(chain, days):
    chain.settings = chain.settings.model_copy(update={"keep_generations": 1})
    chain.promote(days[0], mode="in_place")
    chain.promote(days[1])

    chain.promote(days[2])

    assert chain.entities("shop") == 0
    assert sorted(chain.generations()) == ["shop__g2", "shop__g3"]
    with chain.target.client() as client:
        assert client.exists(b"featmill:shop:serving") == 1


def test_in_place_the_state_says_incomplete_from_the_first_row_to_the_last(
    chain, days, monkeypatch
):
    chain.promote(days[0], mode="in_place")
    seen = []
    put = serving_state.put_state

    def watched(target, project, state):
        seen.append((state.is_complete, state.views["clicks"].snapshot_id))
        return put(target, project, state)

    monkeypatch.setattr(generations_module, "put_state", watched)
    chain.promote(days[1], mode="in_place")

    snapshot = chain.registry.find(days[1]).snapshots["clicks"]
    assert seen == [(False, None), (False, snapshot), (True, snapshot)]
    assert (chain.serving().is_complete, chain.serving().views["clicks"].snapshot_id) == (
        True,
        snapshot,
    )
    assert chain.serving().epoch == 2


def test_views_whose_features_collide_are_refused_before_anything_is_written(
    chain, days, monkeypatch
):
    chain.promote(days[0])

    def collide(*_):
        raise ContractError("two features have the same field")

    monkeypatch.setattr(publication, "plan_views", collide)
    for release, mode in ((days[1], "generation"), (days[1], "in_place")):
        with pytest.raises(ContractError, match="same field"):
            chain.promote(release, mode=mode)

    assert chain.generations() == {"shop__g1": (days[0], "live")}


def test_every_tenant_goes_live(chain):
    eu = ORDERS.model_copy(update={"tenant": "eu"})
    chain.tables = (CLICKS, eu)
    releases = []
    for n in (1, 2):
        clicks = chain.snapshot(CLICKS, day(n), rows(n, 5))
        orders = chain.snapshot(eu, day(n), [(k, day(n), n / 2) for k in range(4)])
        releases.append(chain.release(clicks, orders))
        promoted = chain.promote(releases[-1])

    assert promoted.rows_projects == (("shop", "shop__g2"), ("shop_eu", "shop_eu__g2"))
    assert chain.entities("shop_eu__g2") == 4
    assert chain.served(3, project="shop_eu", table=eu) == ("1.0",)
    chain.rollback()
    assert chain.served(3, project="shop_eu", table=eu) == ("0.5",)
    assert chain.served(3) == ("301", '"day 1"')


def test_a_view_that_is_not_declared_any_more_is_not_in_the_next_generation(chain):
    chain.tables = (CLICKS, ORDERS)
    for n in (1, 2):
        clicks = chain.snapshot(CLICKS, day(n), rows(n, 5))
        orders = chain.snapshot(ORDERS, day(n), [(k, day(n), n / 2) for k in range(9)])
        release = chain.release(clicks, orders)
        if n == 1:
            chain.promote(release)
    chain.tables = (CLICKS,)

    chain.promote(release)

    assert list(chain.serving().views) == ["clicks"]
    assert chain.entities("shop__g2") == 5
    chain.verify()
    chain.rollback()
    assert sorted(chain.serving().views) == ["clicks", "orders"]


def test_the_ledger_says_when_the_flip_was(chain, days):
    chain.promote(days[0])

    (entry,) = promotions.ledger(chain.registry.lake)

    assert entry.promoted_at == chain.serving().flipped_at
    assert entry.read_at == chain.serving().read_at


def test_the_newest_release_is_the_default(chain, days):
    promoted = promotion.promote_as(chain.settings, promotion.Wanted(with_feast=False))

    assert (promoted.release_id, promoted.mode) == (days[2], "in_place")
    assert online_steps.verify(chain.settings).release_id == days[2]
