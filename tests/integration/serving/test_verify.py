"""`featmill verify` says of what it is that it is a release: of what serves, or of a generation beside it."""

from __future__ import annotations

import pytest

from exporters.redis.generations import make_live, read_generations
from featmill.cli.export import show_verify
from featmill.errors import ParityError
from featmill.online.serving_state import next_epoch
from tests.integration.serving.chain import CLICKS, ORDERS, day

pytestmark = pytest.mark.redis


@pytest.fixture
def days(chain):
    """The first of two releases serves, the second waits beside it."""
    chain.settings = chain.settings.model_copy(update={"publish_mode": "generation"})
    releases = [chain.publish(CLICKS, day(n), [(1, day(n), n, f"day {n}")]) for n in (1, 2)]
    chain.promote(releases[0])
    chain.export(releases[1])
    return releases


def test_without_a_release_it_is_of_what_serves(chain, days, capsys):
    found = chain.verify()
    show_verify(found)

    assert (found.release_id, found.is_proof) == (days[0], True)
    assert f"online equals release {days[0]}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("state", ["ready", "kept"])
def test_with_a_release_that_does_not_serve_it_says_so(chain, days, capsys, state):
    if state == "kept":
        chain.promote(days[1])
        chain.rollback()

    found = chain.verify(days[1])
    show_verify(found)

    said = " ".join(capsys.readouterr().out.split())
    assert f"generation shop__g2 ({state}, does not serve) equals release {days[1]}" in said
    assert "online equals" not in said
    assert (found.is_sample, found.is_proof) == (False, False)


def test_damage_to_what_serves_is_found_beside_a_whole_newer_one(chain, days):
    chain.lose(1)

    chain.verify(days[1])
    with pytest.raises(ParityError, match=f"online and release {days[0]} differ"):
        chain.verify()


def test_after_a_rollback_it_is_as_it_went_live(chain):
    """Rule 12: what was filled in since is no part of what serves."""
    first = chain.publish(CLICKS, day(3), [(1, day(3), 1, "a"), (2, day(3), 2, "a")])
    chain.promote(first, mode="in_place")
    rows = [(1, day(4), 1, "b"), (2, day(4), 2, "b")]
    chain.promote(chain.publish(CLICKS, day(4), rows), mode="in_place")
    chain.publish(CLICKS, day(2), [(3, day(2), 9, "filled since")])
    chain.rollback()

    assert chain.verify().release_id == first


def test_projects_that_serve_different_releases_are_no_release(chain):
    eu = ORDERS.model_copy(update={"tenant": "eu"})
    chain.tables = (CLICKS, eu)
    releases = []
    for n in (1, 2):
        clicks = chain.snapshot(CLICKS, day(n), [(1, day(n), n, "a")])
        orders = chain.snapshot(eu, day(n), [(1, day(n), n / 2)])
        releases.append(chain.release(clicks, orders))
        chain.promote(releases[-1])
    kept = read_generations(chain.target, "shop_eu", chain.serving("shop_eu"))["shop_eu__g1"]
    make_live(chain.target, "shop_eu", kept, next_epoch(chain.target, "shop_eu"))

    with pytest.raises(ParityError, match=f"shop {releases[1]}, shop_eu {releases[0]}") as caught:
        chain.verify()
    assert "featmill rollback" in caught.value.hint
