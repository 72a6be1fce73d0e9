"""A Feast without our plug-ins follows no pointer: its repository names the rows that serve (rule 21)."""

from __future__ import annotations

import pytest

from exporters.feast.repository import repository_folder
from exporters.feast.session import quiet_feast
from featmill.contract.catalog import FeatureRef, FeatureService
from featmill.online.serving_state import PublishMode
from orchestration import promotion
from tests.integration.serving.chain import CLICKS, Chain, day

pytestmark = [
    pytest.mark.feast,
    pytest.mark.redis,
    pytest.mark.xdist_group("feast"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:feast"),
]

SERVICE = FeatureService(
    name="clicks_v1",
    description="",
    owner="team",
    features=(FeatureRef(view="clicks", feature="count_7d"),),
)


@pytest.fixture
def chain(online, tmp_path, monkeypatch):
    """Two releases; a value says which."""

    class Served(Chain):
        @property
        def catalog(self):
            return super().catalog.model_copy(update={"services": (SERVICE,)})

    return Served(tmp_path, online, monkeypatch)


def stock(settings):
    """What the stock SDK reads, in a store that is opened anew."""
    folder = repository_folder(settings, is_stock=True)
    with quiet_feast(folder):
        from feast import FeatureStore

        store = FeatureStore(str(folder))
        answer = store.get_online_features(
            features=store.get_feature_service("clicks_v1"), entity_rows=[{"user_id": 7}]
        )
        return answer.to_dict()["count_7d"], store.project


def test_the_stock_repository_moves_with_each_promotion_and_rollback(chain):
    releases = [chain.publish(CLICKS, day(n), [(7, day(n), n, "a")]) for n in (1, 2)]
    seen = []
    for release in releases:
        wanted = promotion.Wanted(release, PublishMode.GENERATION)
        done = promotion.promote_as(chain.settings, wanted)
        assert "clicks_v1" in done.feast_services
        seen.append(stock(chain.settings))

    rolled_back = chain.rollback()
    seen.append(stock(chain.settings))

    assert rolled_back.feast_problem is None
    assert seen == [([1], "shop__g1"), ([2], "shop__g2"), ([1], "shop__g1")]


def test_a_rollback_stands_whatever_becomes_of_the_repository(chain, monkeypatch):
    for n in (1, 2):
        wanted = promotion.Wanted(
            chain.publish(CLICKS, day(n), [(7, day(n), n, "a")]), PublishMode.GENERATION
        )
        promotion.promote_as(chain.settings, wanted)
    definitions = repository_folder(chain.settings) / "definitions.py"
    definitions.unlink()
    definitions.mkdir()

    done = chain.rollback()

    assert "cannot be written" in done.feast_problem
    assert chain.served(7)[0] == "1"
