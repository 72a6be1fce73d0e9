"""Rules of a feature service: each with what passes and what does not."""

from __future__ import annotations

import pytest

from tests.unit.contract.manifests import (
    column,
    exposure,
    feature_table,
    model,
    publish_node,
    window,
)


@pytest.fixture
def services(project):
    """Two feature tables, one of them published."""
    project.models += [
        publish_node("user__buys", "feat_user__buys"),
        feature_table("feat_user__views", column("views_7d", "bigint", window("count", "7d"))),
        model("spine"),
    ]
    return project


def test_a_service_reads_published_nodes_and_feature_tables(services):
    services.exposures = [exposure("ranking", "feat_user__views", "user__buys", "feat_user__buys")]

    assert [str(f) for f in services.load().service("ranking").features] == [
        "user__views:views_7d",
        "user__buys:buys_7d",
    ]


def test_a_service_has_an_owner(services):
    services.exposures = [exposure("ranking", "user__buys", owner={"name": None})]

    assert services.mistakes() == ["ranking: no owner"]


@pytest.mark.parametrize("other", ["spine", "source.shop.raw.events"])
def test_a_service_depends_on_feature_tables_only(services, other):
    services.exposures = [exposure("ranking", "user__buys", other)]
    name = other.removeprefix("source.shop.")

    assert services.mistakes() == [
        f"ranking: depends on {name}, which is neither feature table nor published"
    ]


def test_a_service_depends_on_something(services):
    services.exposures = [exposure("ranking")]

    assert services.mistakes() == ["ranking: depends on nothing"]


def test_an_exposure_of_another_type_depends_on_what_it_likes(services):
    services.exposures = [exposure("report", "spine", type="dashboard", owner={})]

    assert services.mistakes() == []
    assert services.load().services == ()


def test_a_disabled_exposure_is_not_read(services):
    services.exposures = [exposure("ranking", "spine", config={"enabled": False})]

    assert services.mistakes() == []


@pytest.mark.parametrize(
    ("features", "found"),
    [
        (["user__buys:buys_7d"], []),
        (["user__buys:buys_8d"], ["user__buys has no feature 'buys_8d'"]),
        (["user__buys:user_id"], ["user__buys has no feature 'user_id'"]),
        (["user__views:views_7d"], ["reads user__views:views_7d, but depends on no table"]),
        (["nowhere:x", "elsewhere:x"], ["reads nowhere:x, but", "reads elsewhere:x, but"]),
        (["user__buys"], ["'user__buys' is no feature"]),
        (["user__buys:buys_7d"] * 2, ["names user__buys:buys_7d twice"]),
        ("user__buys:buys_7d", ["features is 'user__buys:buys_7d'"]),
        ([1, 2], ["features is 1"]),
    ],
)
def test_a_service_names_features_of_what_it_depends_on(services, features, found):
    services.exposures = [exposure("ranking", "user__buys", features=features)]

    mistakes = sorted(services.mistakes())

    assert len(mistakes) == len(found)
    pairs = zip(mistakes, sorted(found), strict=True)
    assert all(mistake.startswith(f"ranking: {message}") for mistake, message in pairs)


def test_an_unknown_feature_suggests_the_nearest(services):
    services.models[0]["columns"]["seen_7d"] = column("seen_7d", "bigint", {"default": 0})
    services.exposures = [exposure("ranking", "user__buys", features=["user__buys:buy_7d"])]

    assert services.expected() == ["one of buys_7d, seen_7d; did you mean buys_7d?"]


def test_a_service_reads_each_name_once(services):
    services.models[2]["columns"]["buys_7d"] = column("buys_7d", "bigint", {"default": 0})
    services.exposures = [exposure("ranking", "user__buys", "feat_user__views")]
    assert services.mistakes() == ["ranking: reads buys_7d of both user__buys and user__views"]

    chosen = ["user__buys:buys_7d", "user__views:views_7d"]
    services.exposures = [exposure("ranking", "user__buys", "feat_user__views", features=chosen)]
    assert services.mistakes() == []


def test_a_service_reads_one_version_of_a_table(services):
    second = feature_table("feat_user__buys", column("buys", "bigint", {"default": 0}))
    second |= {"unique_id": "model.shop.feat_user__buys.v2", "version": 2, "latest_version": 2}
    services.models.append(second)
    services.exposures = [exposure("ranking", "user__buys", "model.shop.feat_user__buys.v2")]

    assert services.mistakes() == ["ranking: depends on two versions of user__buys"]


def test_a_service_stays_with_one_tenant(services):
    services.models[2]["config"]["meta"]["tenant"] = "north"
    services.exposures = [exposure("ranking", "user__buys", "feat_user__views")]

    assert services.mistakes() == ["ranking: reads tables of the tenants default, north"]


@pytest.mark.parametrize("key", ["feature_services", "feature_table", "features"])
def test_a_key_of_an_exposures_meta_is_misspelt_or_misplaced(services, key):
    meta = {key: {}, "tenant": "north"}
    services.exposures = [exposure("ranking", "user__buys", config={"meta": meta})]

    assert services.mistakes() == [f"ranking: meta has an unknown key {key!r}"]


def test_an_unknown_key_of_a_service(services):
    meta = {"feature_service": {"owner": "Ada", "feature": []}}
    services.exposures = [exposure("ranking", "user__buys", config={"meta": meta})]

    assert services.mistakes() == ["ranking: unknown key 'feature'", "ranking: unknown key 'owner'"]
    assert services.expected() == [
        "one of features, request_fields, request_features, fallbacks, policy; did you mean features?",
        "dbt's own owner of the exposure",
    ]
