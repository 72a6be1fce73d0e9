"""Generations on a cluster: the pointer lies on one node, the rows on all, and a flip is one command (rule 21)."""

from __future__ import annotations

import pytest

from exporters.redis.removal import RemovedGeneration
from featmill.online.serving_state import serving_key
from featmill.online.topology import topology_of
from orchestration.live_projects import live
from tests.integration.online.cluster_servers import running_cluster
from tests.integration.serving.chain import CLICKS, Chain, day
from tests.integration.serving.test_live_reads import ENTITIES, Readers, check
from tests.integration.serving.test_live_reads import days as days
from tests.integration.serving.test_live_reads import snapshots as snapshots

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("cluster")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def chain(cluster, tmp_path, monkeypatch):
    cluster.flush()
    return Chain(tmp_path, cluster.target, monkeypatch)


def test_promoted_rolled_back_and_removed_on_every_node(chain):
    releases = [
        chain.publish(CLICKS, day(n), [(k, day(n), n, f"day {n}") for k in range(300)])
        for n in (1, 2)
    ]
    for release in releases:
        chain.promote(release)
    topology = topology_of(chain.target)
    held = []
    for node in topology.nodes:
        with node.client() as client:
            held.append((client.dbsize(), len(client.keys(serving_key("shop")))))

    assert chain.served(7) == ("2", '"day 2"')
    assert all(keys > 100 for keys, _ in held)
    assert sorted(pointer for _, pointer in held) == [0, 0, 1]
    (one,) = live(chain.settings)
    assert 0 < one.views[0].bytes < 1_000_000
    chain.rollback()
    assert chain.served(7) == ("1", '"day 1"')
    chain.settings = chain.settings.model_copy(update={"keep_generations": 0})
    newest = chain.publish(CLICKS, day(3), [(1, day(3), 3, "day 3")])
    done = chain.promote(newest)
    assert done.removed == (
        RemovedGeneration("shop", "shop__g1", 300),
        RemovedGeneration("shop", "shop__g2", 300),
    )
    assert chain.keys() == 1


def test_flips_under_reads(chain, days, snapshots):
    for release in days:
        chain.promote(release)

    with Readers(chain) as readers:
        for n in range(10):
            before = len(readers.answers)
            chain.rollback(days[n % 3])
            while len(readers.answers) < before + 3 and not readers.errors:
                pass

    check(readers, snapshots)
    assert {one for made_of, _ in readers.answers for one in made_of} == {1, 2, 3}
    assert chain.entities("shop__g1") == ENTITIES
