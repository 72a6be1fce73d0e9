"""Reads of our online store when its connection breaks or is refused: tried again, and never another read's replies."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ResponseError

from featmill import clock
from featmill.online.plan import plan_view
from tests.integration.feast.shop import CUSTOMERS, DAY_1, HOUR, catalog, export, open_feast

pytestmark = [
    pytest.mark.feast,
    pytest.mark.redis,
    pytest.mark.xdist_group("feast"),
    # Feast and what lies below it warn of what they do themselves.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:feast",
        # The lake asks delta-rs by an argument that is going away.
        "ignore:.partition_filters.:DeprecationWarning",
    ),
]

ROWS = [{"customer_id": 7}, {"customer_id": 8}]
FEATURE = ["customers:orders"]


@pytest.fixture
def store(settings, released, online):
    folder, _ = export(settings, released, catalog(CUSTOMERS), online.feast_online_config())
    store = open_feast(folder)
    store.materialize(DAY_1, DAY_1 + HOUR)
    with clock.frozen(DAY_1 + HOUR):
        yield store


def customer_keys(client):
    """The keys of both customers."""
    prefix = plan_view("shop", CUSTOMERS).key_prefix
    return sorted(key for key in client.scan_iter() if key.startswith(prefix))


def sync_reads(store, between):
    """The reads before and after something happens; `between` may refuse reads until what it gives is called."""
    orders = [store.get_online_features(FEATURE, ROWS).to_dict()["orders"]]
    mend = between()
    if mend is not None:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            store.get_online_features(FEATURE, ROWS)
        mend()
    orders.append(store.get_online_features(FEATURE, ROWS).to_dict()["orders"])
    return orders


def async_reads(store, between):
    """The same, of one loop and its connections."""

    async def once():
        return (await store.get_online_features_async(FEATURE, ROWS)).to_dict()["orders"]

    async def both():
        orders = [await once()]
        mend = between()
        if mend is not None:
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                await once()
            mend()
        orders.append(await once())
        await store.close()
        return orders

    return asyncio.run(both())


@pytest.mark.parametrize("reads", [sync_reads, async_reads])
def test_a_connection_that_was_cut_is_opened_again(store, online, reads):
    def cut():
        with online.client() as client:
            assert client.execute_command("CLIENT KILL TYPE normal") > 0

    assert reads(store, cut) == [[1, 5]] * 2


@pytest.mark.parametrize("reads", [sync_reads, async_reads])
def test_a_refused_read_leaves_no_replies_to_the_next(store, online, reads):
    """The first row is refused; the replies behind it must not be taken for those of the next read."""

    def spoil():
        with online.client() as client:
            first = customer_keys(client)[0]
            held = client.dump(first)
            client.set(first, "no hash")

        def mend():
            with online.client() as again:
                again.restore(first, 0, held, replace=True)

        return mend

    assert reads(store, spoil) == [[1, 5]] * 2
