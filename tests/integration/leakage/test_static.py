"""What a reading of compiled SQL finds, and what it leaves alone (rules 2, 4, 12)."""

from __future__ import annotations

import pytest

from featmill.leakage.joins import Relations, unbounded_reads, unfiltered_joins
from featmill.leakage.project import Model, Project
from featmill.leakage.static import (
    look_ahead,
    named_later,
    parse_models,
    read_clock,
    read_labels,
    with_lines,
)

EVENTS = {"user_id": "BIGINT", "v": "BIGINT", "event_at": "TIMESTAMP", "ingested_at": "TIMESTAMP"}
SCHEMAS = {
    "model.p.stg_events": EVENTS,
    "model.p.stg_users": {"user_id": "BIGINT", "country": "VARCHAR", "changed_at": "TIMESTAMP"},
    "model.p.int_names": {"user_id": "BIGINT", "name": "VARCHAR"},
    "model.p.int_dated": EVENTS,
}
AS_OF = "timestamp '2026-01-31 00:00:00' /* featmill:as_of */"
BOUND = f"event_at < {AS_OF}"
EV, USERS, NAMES, DATED, SEED = (
    f'"build"."main"."{name}"'
    for name in ("stg_events", "stg_users", "int_names", "int_dated", "countries")
)


def model(name, sql="select 1 as x", parents=("source.p.raw",), **more):
    relation = f'"build"."main"."{name}"'
    file = f"models/{name}.sql"
    return Model(f"model.p.{name}", name, "p", file, relation, tuple(parents), sql, **more)


def project(*models):
    given = [
        model("stg_events"),
        model("stg_users"),
        model("int_names"),
        model("int_dated", f"select * from x where {BOUND}"),
        *models,
    ]
    seed = Model("seed.p.countries", "countries", "p", "seeds/countries.csv", SEED, (), "")
    return Project({m.unique_id: m for m in given}, {}, {seed.unique_id: seed})


def feature(sql, *, name="feat_x", columns=(), parents=("model.p.stg_events",)):
    meta = {"feature_table": {"join_keys": ["user_id"]}}
    return model(name, sql, parents, meta=meta, columns=columns)


def relations(of):
    return Relations(of, SCHEMAS, frozenset({"ingested_at"}))


def clock(sql):
    given = feature(sql)
    (tree,) = parse_models([given]).values()
    return [finding.message.partition(" ")[0] for finding in read_clock(given, tree)]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ("now()", "now()"),
        ("current_date", "current_date()"),
        ("current_timestamp", "current_timestamp()"),
        ("today()", "current_date()"),
        ("get_current_timestamp()", "get_current_timestamp()"),
        ("localtimestamp", "localtimestamp()"),
        ("transaction_timestamp()", "transaction_timestamp()"),
        ("random()", "random()"),
        ("uuid()", "uuid()"),
        ("gen_random_uuid()", "uuid()"),
        ("nextval('s')", "nextval()"),
        ("age(event_at)", "age()"),
    ],
)
def test_what_reads_the_clock_or_chance_is_found(call, named):
    """Rule 2, wherever it stands."""
    assert clock(f"select {call} as x from {EV}") == [named]
    assert clock(f"with a as (select * from {EV} where event_at < {call}) from a") == [named]


@pytest.mark.parametrize(
    "sql",
    [
        f"select user_id, {AS_OF} as feature_at from {EV}",
        f"select age(event_at, {AS_OF}) as old from {EV}",
        f"select now, today, random, uuid from {EV}",
        f"select 'now()' as text, \"current_date\" from {EV} -- random()",
    ],
)
def test_what_only_looks_like_the_clock_is_not(sql):
    assert clock(sql) == []


def test_a_sample_is_chance():
    assert clock(f"select * from {EV} using sample 10%") == ["a"]


def ahead(parent_sql, child_sql="select user_id from p"):
    parent = model("int_p", parent_sql, ("model.p.stg_events",))
    child = feature(child_sql, parents=("model.p.int_p",), columns=("user_id", "later_value"))
    given = project(parent, child)
    parsed = parse_models([parent, child])
    later = named_later(given, parsed)
    return [f for m in (parent, child) for f in look_ahead(m, parsed[m.unique_id], later)]


OVER = "over (partition by user_id order by event_at"


@pytest.mark.parametrize(
    "expression",
    [
        f"lead(v) {OVER})",
        f"coalesce(lead(v, 2) {OVER}), 0)",
        f"lead(v ignore nulls) {OVER})",
        f"last_value(v) {OVER} rows between current row and unbounded following)",
        f"sum(v) {OVER} rows between 2 preceding and 1 following)",
        f"max(v) {OVER} range between interval 1 day following and interval 2 days following)",
    ],
)
def test_a_look_ahead_that_becomes_a_feature_is_found(expression):
    """Rule 12: carried by a star, it is a column of the feature table."""
    (found,) = ahead(f"select *, {expression} as later_value from {EV}", "select * from p")

    assert (found.model, found.column) == ("int_p", "later_value")


@pytest.mark.parametrize(
    "expression",
    [
        f"lag(v) {OVER})",
        f"sum(v) {OVER})",
        f"sum(v) {OVER} rows between unbounded preceding and current row)",
        f"row_number() {OVER} desc)",
    ],
)
def test_a_look_back_is_none(expression):
    assert not ahead(f"select *, {expression} as later_value from {EV}", "select * from p")


def test_a_look_ahead_that_nobody_asks_for_harms_nobody():
    sql = f"select *, lead(event_at) {OVER}) as valid_to from {EV}"

    assert not ahead(sql, "select user_id, v from p")
    assert ahead(sql, "select user_id, v from p where valid_to is null")
    assert ahead(f"select * from ({sql}) where valid_to > event_at")


def test_a_look_ahead_in_a_condition_is_found():
    assert ahead(f"select user_id from {EV} qualify lead(v) {OVER}) > 0")


def joins(sql):
    given = feature(sql)
    (tree,) = parse_models([given]).values()
    return [found.about for found in unfiltered_joins(given, tree, relations(project(given)))]


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        (f"select * from {EV} e join {USERS} u on e.user_id = u.user_id", ["stg_users"]),
        (f"select * from {EV} e left join {NAMES} n using (user_id)", ["int_names"]),
        (
            f"with u as (select * from {USERS}) select * from {EV} e join u on e.user_id = u.user_id",
            ["stg_users"],
        ),
        (
            f"select * from {EV} e join (select user_id, max(v) as m from {EV} group by user_id) "
            "t on e.user_id = t.user_id",
            ["stg_events"],
        ),
        (
            f"select * from {EV} e join {USERS} u on e.user_id = u.user_id and u.changed_at <= e.event_at",
            [],
        ),
        (
            f"with u as (select * from {USERS} where changed_at < {AS_OF}), w as (select * from u) "
            f"select * from {EV} e join w on e.user_id = w.user_id",
            [],
        ),
        (f"select * from {EV} e asof join {USERS} u on e.event_at >= u.changed_at", []),
        (f"select * from {EV} e join {SEED} c on e.v = c.v", []),
        (f"select * from {EV} e join {DATED} d on e.user_id = d.user_id", []),
        (f"select * from {EV} e semi join {USERS} u on e.user_id = u.user_id", []),
        (f"select * from {EV} e, unnest([1, 2]) as t(x)", []),
    ],
)
def test_a_join_needs_a_condition_on_time(sql, found):
    assert joins(sql) == found


def edges(sql):
    given = feature(sql)
    (tree,) = parse_models([given]).values()
    found = unbounded_reads(given, tree, relations(project(given)))
    return [(finding.about, finding.column) for finding in found]


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        (f"select user_id from {EV}", [("stg_events", None)]),
        (
            f"select user_id from {EV} where event_at >= {AS_OF} - to_days(7)",
            [("stg_events", None)],
        ),
        # When we learnt of a row bounds nothing: it may be of tomorrow.
        (f"select user_id from {EV} where ingested_at <= {AS_OF}", [("stg_events", None)]),
        (
            f"select sum(v) filter (where {BOUND}) as s, count(*) filter (where v > 0) as n from {EV}",
            [("stg_events", "n")],
        ),
        (f"with e as (select * from {EV}) select user_id from e", [("stg_events", None)]),
        (
            f"select user_id from {EV} where {BOUND} union all select user_id from {USERS}",
            [("stg_users", None)],
        ),
        (f"select user_id from {EV} where {BOUND}", []),
        (f"select user_id from {EV} where {AS_OF} > event_at", []),
        (f"select user_id from {EV} where event_at between {AS_OF} - to_days(7) and {AS_OF}", []),
        (f"with e as (select * from {EV}) select user_id from (select * from e where {BOUND})", []),
        (f"select sum(v) filter (where {BOUND}) as s from {EV}", []),
        (f"with unused as (select * from {USERS}) select user_id from {EV} where {BOUND}", []),
        (f"select user_id from {DATED}", []),
        (f"select v from {SEED}", []),
    ],
)
def test_what_is_read_needs_a_right_edge(sql, found):
    """Rule 4."""
    assert edges(sql) == found


def test_labels_behind_a_feature_are_found():
    labels = model("trn_labels")
    between = model("int_between", parents=("model.p.trn_labels",))
    leaky = feature("select 1", parents=("model.p.int_between",))
    clean = feature("select 1", name="feat_clean")
    published = model("x", parents=("model.p.feat_x",), materialized="published")
    spine = ("model.p.trn_labels", "model.p.x")
    macros = ("macro.featmill.point_in_time",)
    training = model("trn_examples", parents=spine, macros=macros)
    given = project(labels, between, leaky, clean, published, training)

    (found,) = read_labels(given, [leaky, clean])

    assert (found.model, found.about) == ("int_between", "trn_labels")
    assert "trn_examples trains on it" in found.message


def test_declared_labels_are_labels():
    outcomes = model("stg_outcomes", meta={"label": True})
    leaky = feature("select 1", parents=("model.p.stg_outcomes",))

    (found,) = read_labels(project(outcomes, leaky), [leaky])

    assert "declares meta.label" in found.message


def test_a_finding_names_the_line(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "feat_x.sql").write_text("select\n    1,\n    now() as x\n")
    given = feature("select 1, now() as x")
    (tree,) = parse_models([given]).values()

    (found,) = with_lines(read_clock(given, tree), tmp_path)

    assert str(found).startswith("models/feat_x.sql:3: feat_x: clock: now()")
