"""Rules of one column and its window: each with what passes and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from featmill.contract.declarations import AGGREGATES
from featmill.contract.types import OnlineKind
from tests.unit.contract.manifests import column, feature_table, window

SUBJECT = "feat_user__buys.x"


def mistakes_of(project, data_type, feature=None, *, online=True, name="x", **also):
    project.models = [
        feature_table("feat_user__buys", column(name, data_type, feature, **also), online=online)
    ]
    return [mistake.partition(": ")[2] for mistake in project.mistakes()]


def test_a_column_has_a_type(project):
    assert mistakes_of(project, None, {"default": 0}) == ["no data_type"]


@pytest.mark.parametrize(
    ("data_type", "cast"),
    [
        ("hugeint", "cast it to BIGINT or DECIMAL(38, 0)"),
        ("ubigint", "cast it to BIGINT or DECIMAL(20, 0)"),
        ("interval", "cast it to BIGINT seconds with extract(epoch from ...)"),
        ("time", "cast it to INTEGER seconds of the day"),
        ("timestamp_ns", "cast it to TIMESTAMP"),
        ("json", "cast it to VARCHAR"),
        ("map(varchar, integer)", "give each key a column of its own"),
        ("struct(a integer)", "give each field a column of its own"),
        ("integer[][]", "flatten it to a list of scalars"),
    ],
)
def test_a_type_outside_the_table_suggests_a_cast(project, data_type, cast):
    found = mistakes_of(project, data_type, {"default": None})

    assert found == [f"{data_type} is outside the type table"]
    assert project.expected() == [f"a type of the type table: {cast}"]


def test_a_type_that_is_none(project):
    assert mistakes_of(project, "wide", {"default": None}) == ["'wide' is not a DuckDB type"]


def test_an_excluded_column_may_have_any_type_and_no_default(project):
    assert mistakes_of(project, "struct(a integer)", {"exclude": True}, description="") == []


def test_a_feature_is_described(project):
    assert mistakes_of(project, "bigint", {"default": 0}, description="") == ["no description"]


@pytest.mark.parametrize(
    ("feature", "online", "found"),
    [
        (None, True, ["online feature without default"]),
        ({"ignore_nulls": True}, True, ["online feature without default"]),
        ({"default": None}, True, []),
        ({"default": 0}, True, []),
        (None, False, []),
        ({"default": "none"}, False, ["default 'none' is not a bigint"]),
    ],
)
def test_an_online_feature_declares_its_default(project, feature, online, found):
    """Rule 5: what an empty window reads as is declared, be it null."""
    assert mistakes_of(project, "bigint", feature, online=online) == found


@pytest.mark.parametrize(
    ("data_type", "online_type", "kind"),
    [
        ("timestamp", "int64", OnlineKind.INT64),
        ("timestamptz", "int64", OnlineKind.INT64),
        ("timestamp", "unix_timestamp", OnlineKind.UNIX_TIMESTAMP),
        ("timestamp[]", "int64", OnlineKind.INT64),
        ("date", None, OnlineKind.UNIX_TIMESTAMP),
        ("date", "unix_timestamp", OnlineKind.UNIX_TIMESTAMP),
    ],
)
def test_a_time_says_how_fine_it_is_online(project, data_type, online_type, kind):
    declared = {"default": None} | ({"online_type": online_type} if online_type else {})

    assert mistakes_of(project, data_type, declared) == []
    assert project.load().table("user__buys").feature("x").type.kind is kind


@pytest.mark.parametrize("data_type", ["timestamp", "timestamptz", "timestamp[]"])
def test_a_time_that_may_be_finer_than_a_second_says_so(project, data_type):
    found = mistakes_of(project, data_type, {"default": None})

    assert found == [f"online feature of type {data_type} without online_type"]
    assert mistakes_of(project, data_type, online=False) == []


def test_online_type_is_one_of_two_and_for_times(project):
    unknown = mistakes_of(project, "timestamp", {"default": None, "online_type": "int46"})
    assert unknown == ["'int46' is not how a time is stored online"]
    assert "did you mean int64?" in project.expected()[0]
    elsewhere = mistakes_of(project, "bigint", {"default": 0, "online_type": "int64"})
    assert elsewhere == ["online_type for a bigint"]


@pytest.mark.parametrize("access", ["public", "protected", "private"])
@pytest.mark.parametrize("feature", [{"default": None}, {"exclude": True}])
def test_personal_data_stays_out_of_public_tables(project, access, feature):
    name = {**feature, "classification": "pii"}
    project.models = [feature_table("feat_user__buys", column("x", "varchar", name))]
    project.models[0]["access"] = access

    found = [f"{SUBJECT}: pii in a public model: feat_user__buys"] if access == "public" else []
    assert project.mistakes() == found


def test_a_key_may_be_personal_data_and_nothing_else(project):
    project.columns["user_id"]["config"]["meta"]["feature"] = {"classification": "pii"}
    assert project.mistakes() == []

    project.columns["user_id"]["config"]["meta"]["feature"] = {"default": 0}
    assert project.mistakes() == [
        "feat_user__buys.user_id: default has no effect: the column is a join key"
    ]


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_an_aggregate_is_known(project, aggregate):
    also: dict[str, dict[str, Any]] = {"ratio": {"of": "quantity"}, "last_n": {"n": 5}}
    needs = also.get(aggregate, {})
    declared = window(aggregate, "lifetime", value="amount", where="amount > 0", scale=2, **needs)
    data_type = "bigint[]" if aggregate == "last_n" else "bigint"

    assert mistakes_of(project, data_type, declared | {"default": None}) == []
    found = project.load().table("user__buys").feature("x").window
    assert found.aggregate == aggregate
    assert found.is_lifetime
    assert {"of": found.of, "n": found.n} == {"of": None, "n": None} | needs


@pytest.mark.parametrize("calendar", ["day", "week", "month"])
@pytest.mark.parametrize("zone", ["Europe/London", "America/Argentina/Buenos_Aires", "UTC"])
def test_a_calendar_window_is_a_type_of_its_own(project, calendar, zone):
    """Rule 1: it has a zone and no length, and the table's hop is not for it."""
    declared = {"aggregate": "count", "calendar": calendar, "zone": zone, "default": 0}
    assert mistakes_of(project, "bigint", declared) == []
    project.table["hop"] = "1h"

    found = project.load().table("user__buys").feature("x").window

    assert (found.calendar, found.zone) == (calendar, zone)
    assert (found.length, found.hop, found.is_lifetime) == (None, None, False)


LONDON = {"aggregate": "count", "calendar": "day", "zone": "Europe/London", "default": 0}


@pytest.mark.parametrize(
    ("feature", "found"),
    [
        ({"zone": "Europe/Londn"}, ["zone: 'Europe/Londn' is no time zone"]),
        # The engine knows it, as Dhaka's: in London they would not have meant that.
        ({"zone": "BST"}, ["zone: 'BST' is no time zone"]),
        ({"zone": "europe/london"}, ["zone: 'europe/london' is no time zone"]),
        ({"zone": 1}, ["zone: 1 is no time zone"]),
        ({"zone": None}, ["calendar without zone"]),
        ({"window": "7d"}, ["window and calendar"]),
        ({"hop": "1h"}, ["hop of a calendar window has no effect"]),
        ({"delay": "1h"}, []),
        ({"calendar": "year"}, ["'year' is not a calendar window"]),
        ({"calendar": None}, ["count without window", "zone without calendar has no effect"]),
        ({"calendar": None, "window": "7d"}, ["zone without calendar has no effect"]),
        (
            {"aggregate": None},
            ["calendar without aggregate has no effect", "zone without aggregate has no effect"],
        ),
    ],
)
def test_a_calendar_has_a_zone_and_nothing_else(project, feature, found):
    declared = {key: value for key, value in (LONDON | feature).items() if value is not None}

    assert sorted(mistakes_of(project, "bigint", declared)) == found


def test_a_zone_that_is_wrong_is_told_at_its_line(project):
    declared = LONDON | {"zone": "Mars/Base"}

    assert mistakes_of(project, "bigint", declared) == ["zone: 'Mars/Base' is no time zone"]
    assert project.expected() == ["a time zone by area and place, such as Europe/London, or UTC"]


def test_the_last_n_are_a_list(project):
    declared = window("last_n", "7d", value="a", n=3) | {"default": None}

    assert mistakes_of(project, "varchar", declared) == ["last_n as varchar"]
    assert project.expected() == ["data_type: varchar[]"]
    assert mistakes_of(project, "varchar[]", declared) == []


@pytest.mark.parametrize(
    ("feature", "found"),
    [
        (window("median", "7d", value="a"), ["'median' is not an aggregate"]),
        ({"aggregate": "count", "default": 0}, ["count without window"]),
        (window("sum", "7d"), ["sum without value"]),
        (window("count", "7d"), []),
        (window("time_since_last", "7d"), []),
        (window("top", "7d"), ["top without value"]),
        (window("ratio", "7d", value="a"), ["ratio without of"]),
        (window("ratio", "7d", of="a"), ["ratio without value"]),
        (window("ratio", "7d", value="a", of=3), ["of is 3"]),
        (window("sum", "7d", value="a", of="b"), ["of of a sum has no effect"]),
        (window("last", "7d", value="a", n=3), ["n of a last has no effect"]),
        (window("sum", "7", value="a"), ["window: '7' is not a duration"]),
        (window("sum", "0d", value="a"), ["window: '0d' is no time at all"]),
        (window("sum", "7d", value=1), ["value is 1"]),
        (window("sum", "7d", value="a", scale=19), ["scale is 19"]),
        (window("sum", "7d", value="a", scale=2.5), ["scale is 2.5"]),
        (window("sum", "7d", value="a", hop="7h"), ["hop: '7h' does not divide the day"]),
        (window("sum", "7d", value="a", hop="1h", delay="5m"), []),
        ({"window": "7d", "default": 0}, ["window without aggregate has no effect"]),
        ({"where": "a > 0", "default": 0}, ["where without aggregate has no effect"]),
        ({"default": 0, "classification": "secret"}, ["'secret' is not a classification"]),
        ({"default": 0, "exclude": "no"}, ["exclude is 'no'"]),
        ({"default": 0, "drift": "psi"}, ["drift is 'psi'"]),
        ({"default": 0, "defualt": 0}, ["unknown key 'defualt'"]),
        ("sum", ["'sum' is not a mapping", "online feature without default"]),
    ],
)
def test_a_feature_is_declared_in_full(project, feature, found):
    assert sorted(mistakes_of(project, "bigint", feature)) == sorted(found)


@pytest.mark.parametrize(
    ("name", "declared", "agrees"),
    [
        ("buys_30d", "30d", True),
        ("buys_24h", "1d", True),
        ("buys_lifetime", "lifetime", True),
        ("buys", "30d", True),
        ("buys_30d_ago", "7d", True),
        ("buys_30d", "7d", False),
        ("buys_30d", "lifetime", False),
        ("buys_lifetime", "90s", False),
        ("buys_99999999999999d", "7d", False),
    ],
)
def test_a_name_that_tells_a_window_tells_the_declared_one(project, name, declared, agrees):
    told = name.rpartition("_")[2]
    found = mistakes_of(project, "bigint", window("count", declared), name=name)

    assert found == ([] if agrees else [f"the name says {told}, the window is {declared}"])


@pytest.mark.parametrize("key", ["features", "feature_table", "featuer"])
def test_a_key_of_a_columns_meta_is_misspelt_or_misplaced(project, key):
    project.columns["buys_7d"]["config"]["meta"][key] = {}

    assert project.mistakes() == [f"feat_user__buys.buys_7d: meta has an unknown key {key!r}"]
