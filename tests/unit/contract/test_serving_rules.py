"""What may be declared of serving: request features, fallbacks, a policy, a selection."""

from __future__ import annotations

from datetime import timedelta

import pytest

from featmill.contract.catalog import OnlineSelection, ServingPolicy
from featmill.contract.row_expressions import row_mistake
from tests.unit.contract.manifests import (
    column,
    exposure,
    feature_table,
    publish_node,
    window,
)


@pytest.fixture
def shop(project):
    """Purchases and views of a user; both online."""
    project.models += [
        publish_node("user__buys", "feat_user__buys"),
        feature_table("feat_user__views", column("views_7d", "bigint", window("count", "7d"))),
    ]
    return project


def serving(project, **declared):
    meta = {"feature_service": declared}
    reads = ("user__buys", "feat_user__views")
    project.exposures = [exposure("ranking", *reads, config={"meta": meta})]
    return project


def one(sql, data_type="BIGINT", **also):
    return {"share": {"data_type": data_type, "sql": sql, **also}}


def test_a_service_without_a_policy_has_the_usual_one(shop):
    assert serving(shop).load().service("ranking").policy == ServingPolicy()


def test_a_policy_is_read(shop):
    policy = {"deadline": "5ms", "stale_for": "10m", "cache_ttl": "2s", "entities": 7, "jitter": 1}

    found = serving(shop, policy=policy).load().service("ranking").policy

    assert found.deadline == timedelta(milliseconds=5)
    assert found.stale_for == timedelta(minutes=10)
    assert (found.cache_ttl, found.entities, found.jitter) == (timedelta(seconds=2), 7, 1)
    assert found.negative_ttl is None


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("deadline", "25", "deadline: '25' is no latency"),
        ("deadline", "0ms", "deadline: '0ms' is no latency"),
        ("stale_for", "9999d", "stale_for: '9999d' is no latency"),
        ("jitter", 1.5, "jitter is 1.5"),
        ("failures", 0, "failures is 0"),
        ("entities", "many", "entities is 'many'"),
        ("stale", "1m", "unknown key 'stale'"),
    ],
)
def test_a_policy_that_cannot_be_read(shop, key, value, told):
    assert serving(shop, policy={key: value}).mistakes() == [f"ranking: {told}"]


def test_request_features_are_read(shop):
    declared = {
        "request_fields": {"cart_value": "DOUBLE"},
        "request_features": one(
            "cart_value / nullif(buys_7d, 0)", "DOUBLE", description="A share."
        ),
    }

    found = serving(shop, **declared).load().service("ranking")

    assert [(f.name, f.type.sql) for f in found.request_fields] == [("cart_value", "DOUBLE")]
    (share,) = found.request_features
    assert (share.name, share.type.sql, share.description) == ("share", "DOUBLE", "A share.")


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"request_fields": {"user_id": "BIGINT"}}, "a request field is called user_id, which is a join key"),
        ({"request_fields": {"as_of": "BIGINT"}}, "a request field is called as_of, which is the moment"),
        ({"request_fields": {"Cart": "BIGINT"}}, "a request field is called 'Cart'"),
        ({"request_fields": {"cart": "HUGEINT"}}, "cart: HUGEINT is outside the type table"),
        ({"request_features": {"buys_7d": {"data_type": "BIGINT", "sql": "1"}}},
         "a request feature is called buys_7d, which is a stored feature"),
        ({"request_features": {"x": {"sql": "1"}}}, "no data_type"),
        ({"request_features": one("1", "MAP(INT, INT)")}, "share: MAP(INT, INT) is outside the type table"),
        ({"request_features": one("buys_8d + 1")}, "share: 'buys_8d + 1' reads buys_8d"),
        ({"request_features": one("sum(buys_7d)")}, "share: 'sum(buys_7d)' has an aggregate or a window"),
        ({"request_features": one("epoch_us(now())")}, "share: 'epoch_us(now())' has the clock, chance or"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_served(shop, declared, told):
    subject, _, rest = serving(shop, **declared).mistakes()[0].partition(": ")

    assert subject.startswith("ranking")
    assert rest.startswith(told)


def test_a_fallback_is_read(shop):
    found = serving(shop, fallbacks={"user__buys:buys_7d": "user__views:views_7d"}).load()

    (fallback,) = found.service("ranking").fallbacks
    assert (str(fallback.feature), str(fallback.source)) == (
        "user__buys:buys_7d",
        "user__views:views_7d",
    )


@pytest.mark.parametrize(
    ("feature", "instead", "told"),
    [
        ("user__buys:bought", "user__views:views_7d", "a fallback for user__buys:bought, which it"),
        ("user__buys:buys_7d", "user__views:seen", "user__buys:buys_7d falls back on user__views:seen, no"),
    ],
)  # fmt: skip
def test_a_fallback_on_what_is_not_there(shop, feature, instead, told):
    assert serving(shop, fallbacks={feature: instead}).mistakes()[0].startswith(f"ranking: {told}")


def test_a_fallback_of_another_type(shop):
    shop.models[2] = feature_table(
        "feat_user__views", column("views_7d", "double", window("sum", "7d", value="v", scale=2))
    )

    told = serving(shop, fallbacks={"user__buys:buys_7d": "user__views:views_7d"}).mistakes()

    assert "falls back on user__views:views_7d of type double" in told[0]


def test_a_fallback_that_is_not_online(shop):
    views = column("views_7d", "bigint", window("count", "7d"))
    shop.models[2] = feature_table("feat_user__views", views, online=False)

    told = serving(shop, fallbacks={"user__buys:buys_7d": "user__views:views_7d"}).mistakes()

    assert "which cannot be read with its keys" in told[0]


def selecting(project, **selection):
    views = column("views_7d", "bigint", window("count", "7d"))
    project.models[-1] = feature_table("feat_user__views", views, selection=selection)
    return project


def test_a_selection_is_read(shop):
    found = selecting(shop, where="views_7d > 0", top=10, by="views_7d").load().table("user__views")

    assert found.selection == OnlineSelection(where="views_7d > 0", top=10, by="views_7d")


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        ({}, "an empty selection"),
        ({"top": 10}, "selection has top and no by"),
        ({"where": "true", "by": "views_7d"}, "selection has by and no top"),
        ({"top": 0, "by": "views_7d"}, "top is 0"),
        ({"where": "views > 0"}, "where: 'views > 0' reads views"),
        (
            {"where": "feature_at > now()"},
            "where: 'feature_at > now()' has the clock, chance or the session in it",
        ),
        ({"were": "true"}, "unknown key 'were'"),
    ],
)
def test_a_selection_that_selects_nothing_or_by_what_is_not_there(shop, selection, told):
    assert f"feat_user__views: {told}" in selecting(shop, **selection).mistakes()


def test_a_selection_of_what_is_not_online(shop):
    views = column("views_7d", "bigint", window("count", "7d"))
    selection = {"where": "views_7d > 0"}
    shop.models[-1] = feature_table("feat_user__views", views, online=False, selection=selection)

    assert shop.mistakes() == ["feat_user__views: a selection without online: true"]


@pytest.mark.parametrize(
    "sql",
    [
        "a + b", "hour(as_of)", "isodow(as_of) >= 6", "epoch_us(as_of) - epoch_us(a)", "coalesce(a, 0)",
        "case when a > 1 then b end", "list_sum(list_transform(b, x -> x + a))", "A / nullif(b, 0)",
        "date_trunc('day', as_of)", "len(b)", "a in (1, 2)", "round(a::decimal(9, 2), 1)",
    ],
)  # fmt: skip
def test_an_expression_over_a_row(sql):
    assert row_mistake(sql, ["a", "b"]) is None


@pytest.mark.parametrize(
    "sql",
    [
        "a +", "sum(a)", "count(*)", "lag(a) over ()", "(select 1)", "a in (select 1)", "a from t", "*", "a, b", "c",
        "t.a", "current_date", "current_timestamp", "today()", "random()", "uuid()", "nextval('s')", "getenv('HOME')",
        "exists (select 1)", "a; drop table x", "a where true", "current_localtimestamp()", "get_current_timestamp()",
    ],
)  # fmt: skip
def test_an_expression_over_more_than_a_row(sql):
    assert row_mistake(sql, ["a", "b"]) is not None
