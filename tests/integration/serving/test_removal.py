"""Old rows are removed by one run, which ends with who takes over, and nothing is removed but what featmill wrote."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest

from exporters.redis import removal
from exporters.redis.entity_keys import key_commands
from featmill.online.codec import redis_keys
from featmill.online.plan import feature_field, plan_view
from orchestration import promotion
from tests.integration.serving.chain import CLICKS, day

pytestmark = pytest.mark.redis

ROWS = 300
PATIENCE = 60.0


@pytest.fixture
def given_up(chain, monkeypatch):
    """Rows in place that are to be removed, by a run that stops between finding their keys and taking them away.

    Gives a function that lets it go on and waits for its end.
    """
    publish(chain, 1)
    chain.promote(mode="in_place")
    chain.settings = chain.settings.model_copy(update={"keep_generations": 0})
    reached, go_on, waits = threading.Event(), threading.Event(), [True]
    count = key_commands

    def stopping(*given, **more):
        if waits and threading.current_thread() is thread:
            waits.clear()
            reached.set()
            go_on.wait(PATIENCE)
        return count(*given, **more)

    monkeypatch.setattr(removal, "key_commands", stopping)
    publish(chain, 2)
    thread = threading.Thread(target=lambda: chain.promote(mode="generation"), daemon=True)
    thread.start()
    assert reached.wait(PATIENCE)

    def resume():
        go_on.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()

    yield resume
    resume()


def publish(chain, number):
    return chain.publish(
        CLICKS, day(number), [(n, day(number), n, f"day {number}") for n in range(ROWS)]
    )


def in_place_again(chain):
    """Another run takes the removal over, and the rows come to life again."""
    (done,) = promotion.clean(chain.settings)
    assert (done.rows_project, done.entities, chain.entities("shop")) == ("shop", ROWS, 0)
    publish(chain, 3)
    chain.promote(mode="in_place")


def test_a_remover_that_was_paused_takes_nothing_of_what_is_written_there_anew(chain, given_up):
    in_place_again(chain)

    given_up()

    assert chain.entities("shop") == ROWS
    assert chain.served(7) == ("7", '"day 3"')
    chain.verify()


def test_where_a_connection_may_not_be_ended_the_claim_is_looked_at(chain, given_up, monkeypatch):
    """What was found before the claim went is one page; here it is all, so the run is stopped before it."""
    monkeypatch.setattr(removal, "end_connections", lambda *_: None)
    with chain.target.client() as client:
        client.hset("featmill:shop:serving", "removing:shop", "another run")

    given_up()

    with chain.target.client() as client:
        assert client.hget("featmill:shop:serving", "removing:shop") == b"another run"
    assert chain.generations()["shop"][1] == "removing", "what is known of it is the other run's"


def test_a_page_is_not_taken_away_where_another_run_removes(chain, monkeypatch):
    publish(chain, 1)
    chain.promote(mode="in_place")
    publish(chain, 2)
    chain.promote(mode="generation")
    rest = removal._rest

    def overtaken(begun):
        with chain.target.client() as client:
            client.hset("featmill:shop:serving", "removing:shop", "another run")
        rest(begun)

    monkeypatch.setattr(removal, "_rest", overtaken)

    assert removal.remove_generation(chain.target, "shop", "shop") is None
    assert chain.entities("shop") == ROWS


def test_of_the_rows_in_place_a_users_own_feast_views_stay(chain):
    publish(chain, 1)
    chain.promote(mode="in_place")
    plan = plan_view("shop", CLICKS)
    entities = pa.record_batch({"user_id": pa.array([1, 9_999], pa.int64())})
    theirs = {feature_field("own", "x"): b"\x20\x05", b"_ts:own": b"\x08\x01"}
    keys = redis_keys(plan, entities).to_pylist()
    with chain.target.client() as client:
        for key in keys:
            client.hset(key, mapping=theirs)
    chain.settings = chain.settings.model_copy(update={"keep_generations": 0})
    publish(chain, 2)

    done = chain.promote(mode="generation")

    assert [(gone.rows_project, gone.entities) for gone in done.removed] == [("shop", ROWS)]
    assert chain.entities("shop") == 2
    with chain.target.client() as client:
        assert [client.hgetall(key) for key in keys] == [theirs] * 2
