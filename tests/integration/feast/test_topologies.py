"""`feast materialize` into a cluster and behind sentinels, and reads of it through our online store."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest

from featmill import clock
from featmill.online.live import read_live
from featmill.online.serving_state import read_state
from tests.integration.feast.shop import (
    CUSTOMERS,
    DAY_1,
    DAY_2,
    DAY_3,
    HOUR,
    catalog,
    customers,
    export,
    open_feast,
)
from tests.integration.online.cluster_servers import running_cluster, running_sentinels

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

MANY = range(100)


@contextmanager
def cluster(tmp_path):
    with running_cluster(tmp_path / "servers") as found:
        yield found.target


@contextmanager
def sentinels(tmp_path):
    """The password has what Feast's connection string would be cut at."""
    with running_sentinels(tmp_path / "servers", sentinels=1, password="p,=w") as found:
        yield found.target


@pytest.fixture(params=[cluster, sentinels])
def target(request, tmp_path):
    (tmp_path / "servers").mkdir()
    with request.param(tmp_path) as found:
        yield found


def orders(store, how):
    """The first feature of a hundred customers and of one that nobody knows."""
    features = ["customers:orders", "customers:city"]
    rows = [{"customer_id": number} for number in (*MANY, 1_000)]
    if how == "sync":
        return store.get_online_features(features, rows).to_dict()["orders"]

    async def once():
        answer = await store.get_online_features_async(features, rows)
        await store.close()
        return answer.to_dict()["orders"]

    return asyncio.run(once())


@pytest.mark.parametrize("how", ["sync", "async"])
def test_what_was_materialised_is_read(settings, warehouse, target, how):
    first = warehouse.snapshot(
        "customers", DAY_1, customers(*((n, n, "Ulm") for n in MANY)), published_at=DAY_1 + HOUR
    )
    second = warehouse.snapshot(
        "customers", DAY_2, customers(*((n, n + 1, "Ulm") for n in MANY)), published_at=DAY_2
    )
    warehouse.release(first)
    warehouse.release(second)
    folder, _ = export(settings, warehouse, catalog(CUSTOMERS), target.feast_online_config())
    store = open_feast(folder)

    store.materialize(DAY_1, DAY_1 + HOUR)
    with clock.frozen(DAY_1 + HOUR):
        assert orders(store, how) == [*MANY, None]
    store.materialize_incremental(DAY_3)
    with clock.frozen(DAY_2 + HOUR):
        assert orders(store, how) == [*(n + 1 for n in MANY), None]

    assert read_state(target, "shop").is_complete
    assert read_live(target, "shop")["customers"].rows == len(MANY)
