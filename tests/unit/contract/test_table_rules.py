"""Rules of one feature table and of the project: each with what passes and what does not."""

from __future__ import annotations

import pytest

from featmill.contract.declarations import FeatureTableDeclaration
from tests.unit.contract.manifests import (
    column,
    feature_table,
    model,
    publish_node,
    window,
)


def test_a_sound_table_has_no_mistakes(project):
    assert project.mistakes() == []


def test_a_table_needs_no_publish_node(project):
    assert project.load().table("user__buys").publish_node is None


@pytest.mark.parametrize("key", ["entity", "join_keys", "ttl"])
def test_a_required_key_is_missing(project, key):
    del project.table[key]

    assert project.mistakes() == [f"feat_user__buys: no {key}"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("entity", "", "entity is ''"),
        ("entity", 1, "entity is 1"),
        ("join_keys", [], "join_keys is []"),
        ("join_keys", "user_id", "join_keys is 'user_id'"),
        ("ttl", "3 days", "ttl: '3 days' is not a duration"),
        ("ttl", 3, "ttl: 3 is not a duration"),
        ("ttl", "0s", "ttl: '0s' is no time at all"),
        ("online", "yes", "online is 'yes'"),
        ("hop", "7h", "hop: '7h' does not divide the day"),
        ("hop", "2d", "hop: '2d' does not divide the day"),
        ("hop", "0m", "hop: '0m' is no time at all"),
        ("storage", "some", "'some' is not auto, full or changes"),
        ("tile", "7h", "tile: '7h' does not divide the day"),
        ("tile", "exact", "tile: 'exact' is not a duration"),
        ("keep_events", "yes", "keep_events is 'yes'"),
        ("delay", "soon", "delay: 'soon' is not a duration"),
        ("online_ttl", "3d", "unknown key 'online_ttl'"),
    ],
)
def test_a_key_has_another_shape(project, key, value, message):
    project.table[key] = value

    assert project.mistakes() == [f"feat_user__buys: {message}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ttl", None),
        ("ttl", "none"),
        ("ttl", "36h"),
        ("hop", "exact"),
        ("storage", "changes"),
        ("hop", "5m"),
        ("hop", "1d"),
        ("delay", "0s"),
        ("tile", "6h"),
        ("keep_events", True),
        ("online", False),
    ],
)
def test_a_key_may_be(project, key, value):
    project.table[key] = value

    assert project.mistakes() == []


def test_a_declaration_is_a_mapping(project):
    project.config["meta"]["feature_table"] = True

    assert project.mistakes() == ["feat_user__buys: True is not a mapping"]


def test_an_unknown_key_names_the_nearest_or_where_it_belongs(project):
    project.table.update(tll="3d", event_time="feature_at")

    assert project.expected() == [
        "dbt's own config.event_time",
        f"one of {', '.join(FeatureTableDeclaration.model_fields)}; did you mean ttl?",
    ]


@pytest.mark.parametrize("key", ["feature_tabel", "features", "feature", "tennant"])
def test_a_key_of_meta_is_misspelt_or_misplaced(project, key):
    project.config["meta"][key] = {}

    assert project.mistakes() == [f"feat_user__buys: meta has an unknown key {key!r}"]


def test_a_declaration_outside_of_meta_is_read_by_nobody(project):
    project.models.append(model("m", feature_table={"entity": "user"}))

    assert project.mistakes() == ["m: feature_table is under config, where nothing reads it"]


def test_meta_may_have_keys_of_others(project):
    project.config["meta"].update(owner_team="growth", tenant="north", contains_pii=True)

    assert project.mistakes() == []


@pytest.mark.parametrize("tenant", ["North", "a-b", "", 3, None, "eu__g1"])
def test_a_tenant_is_part_of_names(project, tenant):
    project.config["meta"]["tenant"] = tenant

    assert project.mistakes() == [f"feat_user__buys: tenant is {tenant!r}"]


@pytest.mark.parametrize("name", ["shop__g1", "shop_g1", "shop__g1x"])
def test_a_project_is_not_named_like_a_generation_of_another(project, name):
    project.name = name

    told = [f"feat_user__buys: the dbt project is named {name}"] if name == "shop__g1" else []
    assert project.mistakes() == told


def test_event_time_is_missing(project):
    del project.config["event_time"]

    assert project.mistakes() == ["feat_user__buys: no event_time"]


def test_event_time_and_keys_are_columns(project):
    project.config["event_time"] = "feature_a"
    project.table["join_keys"] = ["user"]

    assert project.mistakes()[:2] == [
        "feat_user__buys: event_time 'feature_a' is not a column",
        "feat_user__buys: join key 'user' is not a column",
    ]
    assert "did you mean feature_at?" in project.expected()[0]


def test_event_time_is_no_join_key(project):
    project.config["event_time"] = "user_id"
    del project.columns["feature_at"]

    assert project.mistakes() == ["feat_user__buys: 'user_id' is both join key and event_time"]


def test_a_join_key_is_named_once(project):
    project.table["join_keys"] = ["user_id", "user_id"]

    assert project.mistakes() == [
        "feat_user__buys: join_keys names a column twice: user_id, user_id"
    ]


@pytest.mark.parametrize(
    "data_type",
    ["tinyint", "integer", "bigint", "uinteger", "varchar(9)", "uuid", "blob", "date", "timestamp"],
)
def test_a_join_key_may_be(project, data_type):
    project.columns["user_id"]["data_type"] = data_type

    assert project.mistakes() == []


@pytest.mark.parametrize(
    "data_type", ["double", "float", "boolean", "decimal(20, 0)", "bigint[]", "enum('a')"]
)
def test_a_join_key_may_not_be(project, data_type):
    project.columns["user_id"]["data_type"] = data_type

    assert project.mistakes() == [f"feat_user__buys.user_id: join key of type {data_type}"]


@pytest.mark.parametrize(
    ("data_type", "is_indexed"),
    [("bigint", True), ("varchar(9)", True), ("uuid", True), ("date", False), ("blob", False)],
)
def test_an_index_is_of_whole_numbers_and_texts(project, data_type, is_indexed):
    project.columns["user_id"]["data_type"] = data_type
    assert project.mistakes() == []

    project.table["index"] = True

    mistake = f"feat_user__buys: index: true with a join key of type {data_type}"
    assert project.mistakes() == ([] if is_indexed else [mistake])


@pytest.mark.parametrize(
    ("data_type", "is_moment"),
    [("timestamp", True), ("timestamptz", True), ("date", False), ("bigint", False)],
)
def test_event_time_is_a_moment(project, data_type, is_moment):
    project.columns["feature_at"]["data_type"] = data_type
    mistake = f"feat_user__buys.feature_at: event_time of type {data_type}"

    assert project.mistakes() == ([] if is_moment else [mistake])


def test_the_contract_is_enforced(project):
    project.config["contract"] = {"enforced": False}

    assert project.mistakes() == ["feat_user__buys: the contract is not enforced"]


def test_a_table_is_described(project):
    project.models[0]["description"] = " "

    assert project.mistakes() == ["feat_user__buys: no description"]


def test_a_table_has_a_data_test_that_runs_before_its_publish_node(project):
    """Rule 20: a failed gate publishes nothing."""
    project.models.append(publish_node("user__buys", "feat_user__buys"))
    ungated = ["feat_user__buys: no data test, so nothing gates what is published"]

    project.tests = []
    assert project.mistakes() == ungated
    project.tests = [("feat_user__buys", "user__buys")]
    assert project.mistakes() == ungated
    project.tests = [("feat_user__buys", "user__buys"), ("feat_user__buys",)]
    assert project.mistakes() == []


def test_a_publish_node_names_the_table(project):
    project.models.append(publish_node("purchases", "feat_user__buys", access="public"))

    table = project.load().table("purchases")

    assert table.publish_node == "model.shop.purchases"
    assert table.access == "public"


def test_a_publish_node_publishes_a_feature_table(project):
    project.models += [model("other"), publish_node("p", "other"), publish_node("q")]

    assert project.mistakes() == [
        "p: publishes other, which is no feature table",
        "q: publishes nothing",
    ]


def test_a_table_has_one_publish_node(project):
    project.models += [publish_node(name, "feat_user__buys") for name in ("a", "b")]

    assert project.mistakes() == ["b: feat_user__buys is already published by a"]


def test_a_name_has_one_table(project):
    project.models += [
        feature_table("feat_user__more", column("more", "bigint", {"default": 0})),
        publish_node("user__buys", "feat_user__more"),
    ]

    assert project.mistakes() == [
        "feat_user__more: feat_user__buys is also published as user__buys"
    ]


def test_versions_of_a_table_share_its_name(project):
    project.models = [versioned(1), versioned(2)]

    catalog = project.load()

    assert [(t.name, t.version, t.is_latest) for t in catalog.tables] == [
        ("user__buys", "2", True),
        ("user__buys", "1", False),
    ]
    assert catalog.table("user__buys").version == "2"


def versioned(version: int):
    table = feature_table("feat_user__buys")
    unique_id = f"{table['unique_id']}.v{version}"
    table |= {"unique_id": unique_id, "version": version, "latest_version": 2}
    table["config"]["meta"]["feature_table"]["online"] = False
    return table


def test_an_entity_has_the_same_keys_everywhere(project):
    other = feature_table("feat_user__more", column("more", "bigint", {"default": 0}))
    project.models.append(other)
    assert project.mistakes() == []

    other["columns"]["user_id"]["data_type"] = "varchar"
    assert project.mistakes() == [
        "feat_user__more: entity 'user' has the join keys user_id varchar here"
    ]
    assert project.expected() == ["user_id bigint, as in feat_user__buys"]

    other["config"]["meta"]["tenant"] = "north"
    assert project.mistakes() == [], "another tenant's entity is another entity"


def test_an_entity_has_the_same_key_names_everywhere(project):
    other = feature_table("feat_user__more", column("more", "bigint", {"default": 0}))
    other["config"]["meta"]["feature_table"]["join_keys"] = ["member_id"]
    other["columns"]["member_id"] = {**other["columns"].pop("user_id"), "name": "member_id"}
    project.models.append(other)

    assert project.mistakes() == [
        "feat_user__more: entity 'user' has the join keys member_id bigint here"
    ]


def test_a_feature_is_not_named_like_another_tables_key(project):
    other = feature_table(
        "feat_item__sales", column("sold_7d", "bigint", window("count", "7d")), entity="item"
    )
    other["config"]["meta"]["feature_table"]["join_keys"] = ["buys_7d"]
    other["columns"]["buys_7d"] = column("buys_7d", "bigint")
    del other["columns"]["user_id"]
    project.models.append(other)

    assert project.mistakes() == [
        "feat_user__buys.buys_7d: a join key of feat_item__sales has this name"
    ]
    project.columns["buys_7d"]["config"]["meta"]["feature"] = {"exclude": True}
    assert project.mistakes() == []


def test_the_owner_is_the_groups_owner(project):
    project.config["group"] = "growth"
    groups = {"name": "growth", "package_name": "other", "owner": {"name": None, "email": ["a@b"]}}
    project.groups = {"group.other.growth": groups}
    assert project.load().table("user__buys").owner == "a@b"

    ours = {"name": "growth", "package_name": "shop", "owner": {"name": "Ada", "email": "x@y"}}
    project.groups["group.shop.growth"] = ours
    assert project.load().table("user__buys").owner == "Ada"


def test_a_disabled_table_is_not_read(project):
    project.models.append(feature_table("feat_user__off"))
    project.models[1]["config"]["enabled"] = False

    assert [table.name for table in project.load().tables] == ["user__buys"]
