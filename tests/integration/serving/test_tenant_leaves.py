"""A tenant that is not declared any more: its rows go, and rollbacks are of what is left (rule 21)."""

from __future__ import annotations

import pytest

from featmill.online.ownership import owner_key
from featmill.online.serving_state import known_projects, projects_key
from orchestration import promotion
from tests.integration.serving.chain import CLICKS, ORDERS, day

pytestmark = pytest.mark.redis

ACME = ORDERS.model_copy(update={"tenant": "acme"})


def release(chain, number):
    """A release of the tables that are declared."""
    snapshots = [chain.snapshot(CLICKS, day(number), [(1, day(number), number, "a")])]
    if ACME in chain.tables:
        snapshots.append(chain.snapshot(ACME, day(number), [(k, day(number), 1.0) for k in (1, 2)]))
    return chain.release(*snapshots)


def promote(chain, numbers, mode):
    """Promote a release of each of the days."""
    return {n: chain.promote(release(chain, n), mode=mode) for n in numbers}


@pytest.mark.parametrize("mode", ["in_place", "generation"])
def test_its_rows_go_with_the_next_promotion(chain, mode):
    chain.tables = (CLICKS, ACME)
    promote(chain, (1, 2), mode)
    assert chain.served(1, project="shop_acme", table=ACME) == ("1.0",)
    with chain.target.client() as client:
        client.hset(b"somebody_else", "a", "b")
    chain.tables = (CLICKS,)

    done = promote(chain, (3,), mode)[3]

    assert [(gone.project, gone.view, gone.entities) for gone in done.retired] == [
        ("shop_acme", "orders", 2)
    ]
    assert chain.served(1, project="shop_acme", table=ACME) is None
    assert chain.serving("shop_acme").views == {}
    assert chain.generations("shop_acme") == {}
    with chain.target.client() as client:
        assert not [key for key in client.scan_iter() if b"shop_acme" in key and b"user_id" in key]
        assert client.exists(b"somebody_else")
    assert promote(chain, (4,), mode)[4].retired == ()


def test_in_place_what_others_write_to_its_project_stays(chain):
    chain.tables = (CLICKS, ACME)
    promote(chain, (1,), "in_place")
    with chain.target.client() as client:
        (key,) = [k for k in client.scan_iter() if k.endswith(b"\x01" + b"\0" * 7 + b"shop_acme")]
        client.hset(key, b"_ts:own", b"1")
    chain.tables = (CLICKS,)

    promote(chain, (2,), "in_place")

    with chain.target.client() as client:
        assert client.hgetall(key) == {b"_ts:own": b"1"}


@pytest.mark.parametrize("mode", ["in_place", "generation"])
def test_a_rollback_after_it_left_is_to_what_was_live_before(chain, monkeypatch, mode):
    """Also where its rows are still there: the run that would have taken them was killed."""
    chain.tables = (CLICKS, ACME)
    monkeypatch.setattr(promotion, "retire_projects", lambda _: ())
    done = promote(chain, (1, 2), mode)
    chain.tables = (CLICKS,)
    done |= promote(chain, (3, 4, 5), mode)

    assert chain.rollback().release_id == done[4].release_id
    assert chain.served(1)[0] == "4"
    assert chain.rollback().release_id == done[3].release_id
    assert chain.served(1)[0] == "3"
    kinds = [kind for kind, _ in chain.ledger()]
    assert kinds == ["live"] * 5 + ["rollback"] * 2


def test_it_comes_back(chain):
    chain.tables = (CLICKS, ACME)
    promote(chain, (1,), "generation")
    chain.tables = (CLICKS,)
    promote(chain, (2,), "generation")
    chain.tables = (CLICKS, ACME)

    promote(chain, (3,), "generation")

    assert chain.served(2, project="shop_acme", table=ACME) == ("1.0",)
    chain.verify()


@pytest.mark.parametrize("other", ["lake", "dbt project"])
def test_what_another_owns_by_now_stays(chain, other):
    chain.tables = (CLICKS, ACME)
    promote(chain, (1,), "in_place")
    with chain.target.client() as client:
        if other == "lake":
            client.hset(owner_key("shop_acme"), "owner", "shop another")
        else:
            client.sadd(projects_key("shop_acme"), "shop_acme")
    chain.tables = (CLICKS,)

    assert promote(chain, (2,), "in_place")[2].retired == ()

    assert chain.served(1, project="shop_acme", table=ACME) == ("1.0",)
    assert known_projects(chain.target, "shop") == ["shop"]
