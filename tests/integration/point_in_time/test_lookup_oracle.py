"""What a point-in-time lookup finds, against a second implementation in plain Python (rules 12 to 15)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from featmill.training.templates import point_in_time_sql
from featmill.warehouse.columns import literal

CONNECTION = duckdb.connect(config={"threads": 2})
CONNECTION.execute("SET TimeZone = 'UTC'")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86400 * 10**6
START = 20512 * DAY
TTLS = [None, 1, 2, DAY, 3 * DAY]
#: Keys that read the same when they are run together, and NULL's neighbours.
KEYS = [("a", 11), ("a1", 1), ("a", 1), ("", 11), ("A", 1)]


@dataclass(frozen=True)
class Row:
    """A row of a published table: moments in microseconds since the epoch."""

    key: tuple[str, int]
    at: int
    published: int
    snapshot: str
    plain: int | None
    carried: str | None


@dataclass(frozen=True)
class Case:
    """A published table, its declaration and a spine."""

    rows: tuple[Row, ...]
    ttl: int | None
    defaults: tuple[int | None, str | None]
    spine: tuple[tuple[int, tuple[str, int], int], ...]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    ttl = draw(st.sampled_from(TTLS))
    days = st.integers(0, 4).map(lambda n: START + n * DAY)
    rows = draw(
        st.lists(
            st.builds(
                Row,
                key=st.sampled_from(KEYS),
                at=st.one_of(days, days, days.map(lambda at: at + 1)),
                published=st.sampled_from([START + 9 * DAY, START + 9 * DAY + 1]),
                snapshot=st.sampled_from(["s-0000", "s-0001", "s-0002"]),
                plain=st.one_of(st.integers(0, 99), st.none()),
                carried=st.one_of(st.sampled_from("xyz"), st.none()),
            ),
            min_size=2,
            max_size=25,
            unique_by=lambda row: (row.key, row.at, row.published, row.snapshot),
        )
    )
    edges = [row.at for row in rows] + [START + 2 * DAY]
    edges += [row.at + ttl for row in rows if ttl is not None]
    near = st.builds(
        lambda edge, by: edge + by, st.sampled_from(edges), st.sampled_from([-1, 0, 1])
    )
    known = st.sampled_from([row.key for row in rows])
    keys = st.one_of(known, known, st.sampled_from([*KEYS, ("zz", 0)]))
    labels = st.tuples(st.integers(0, 3), keys, near)
    spine = draw(st.lists(labels, min_size=1, max_size=12))
    spine += draw(st.lists(st.sampled_from(spine), max_size=3))
    defaults = draw(st.tuples(st.sampled_from([None, -1]), st.sampled_from([None, "it's", ""])))
    return Case(tuple(rows), ttl, defaults, tuple(spine))


def expected(case: Case) -> list[tuple[Any, ...]]:
    """Rules 12 to 15 as they are written, one row of the spine at a time."""
    return [(label, *key, moment(at), *found(case, key, at)) for label, key, at in case.spine]


def found(case: Case, key: tuple[str, int], at: int) -> tuple[Any, ...]:
    newest: dict[int, Row] = {}
    for row in sorted(case.rows, key=lambda row: (row.published, row.snapshot)):
        if row.key == key and row.at <= at:
            newest[row.at] = row
    if not newest:
        return (*case.defaults, "missing", None)
    last = max(newest)
    if case.ttl is not None and not at < last + case.ttl:
        return (*case.defaults, "expired", moment(last))
    visible = [at for at in newest if case.ttl is None or last < at + case.ttl]
    carried = [newest[at].carried for at in sorted(visible) if newest[at].carried is not None]
    return newest[last].plain, carried[-1] if carried else None, "ok", moment(last)


def computed(case: Case, *, reverse: bool = False) -> list[tuple[Any, ...]]:
    """The same by the macro, in DuckDB."""
    default, carried = case.defaults
    view = {
        "name": "view",
        "relation": "published",
        "keys": ["code", "number"],
        "event_time": "valid_at",
        "ttl_us": case.ttl,
        "features": [
            {"name": "plain", "ignore_nulls": False, "default_sql": str(default or "null")},
            {
                "name": "carried",
                "ignore_nulls": True,
                "default_sql": "null" if carried is None else literal(carried),
            },
        ],
    }
    sql = point_in_time_sql("SELECT * FROM labels", "at", [view], status=True, hidden=[])
    with CONNECTION.cursor() as cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.register("published", published(case.rows[::-1] if reverse else case.rows))
        cursor.register("labels", labels(case))
        return cursor.execute(sql).fetchall()


def published(rows) -> pa.Table:
    zoned = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "code": pa.array([row.key[0] for row in rows], pa.string()),
            "number": pa.array([row.key[1] for row in rows], pa.int32()),
            "valid_at": pa.array([row.at for row in rows], zoned),
            "plain": pa.array([row.plain for row in rows], pa.int64()),
            "carried": pa.array([row.carried for row in rows], pa.string()),
            "published_at": pa.array([row.published for row in rows], zoned),
            "snapshot_id": pa.array([row.snapshot for row in rows], pa.string()),
        }
    )


def labels(case: Case) -> pa.Table:
    return pa.table(
        {
            "label": pa.array([label for label, _, _ in case.spine], pa.int64()),
            "code": pa.array([key[0] for _, key, _ in case.spine], pa.string()),
            "number": pa.array([key[1] for _, key, _ in case.spine], pa.int64()),
            "at": pa.array([at for _, _, at in case.spine], pa.timestamp("us", "UTC")),
        }
    )


def moment(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


@settings(max_examples=200)
@given(cases())
def test_a_lookup_equals_its_definition(case):
    """Rules 12 to 15: rows, values, statuses and the order of the spine."""
    rows = expected(case)
    for status in sorted({row[6] for row in rows}):
        event(status)

    assert computed(case) == rows


@given(cases())
def test_the_order_of_the_published_rows_decides_nothing(case):
    """Rule 13: ties are settled by published_at and snapshot id, never by where a row lies."""
    assert computed(case) == computed(case, reverse=True)


ONE = Row(("a", 1), START, START + 9 * DAY, "s-0000", 7, "x")


@pytest.mark.parametrize(
    ("at", "status", "plain"),
    [
        (START - 1, "missing", -1),
        (START, "ok", 7),
        (START + DAY - 1, "ok", 7),
        (START + DAY, "expired", -1),
    ],
)
def test_a_row_is_visible_from_its_time_until_its_ttl(at, status, plain):
    """Rule 12: feature_at <= t < feature_at + ttl, to the microsecond."""
    case = Case((ONE,), DAY, (-1, None), ((0, ONE.key, at),))

    ((*_, value, _, found_status, _),) = computed(case)

    assert (found_status, value) == (status, plain)


@pytest.mark.parametrize(
    ("others", "plain"),
    [
        ([Row(ONE.key, START, ONE.published + 1, "s-0000", 8, None)], 8),
        ([Row(ONE.key, START, ONE.published - 1, "s-9999", 8, None)], 7),
        ([Row(ONE.key, START, ONE.published, "s-0001", 8, None)], 8),
        ([Row(ONE.key, START, ONE.published, "s-0001", None, None)], None),
    ],
)
def test_of_ties_the_later_published_then_the_higher_id_wins(others, plain):
    """Rules 13 and 14: also where its value is NULL."""
    case = Case((ONE, *others), None, (-1, None), ((0, ONE.key, START),))

    assert computed(case)[0][4] == plain


def test_an_ignored_null_is_not_carried_past_the_ttl_of_its_value():
    """Rule 14: the value must still have been visible when the newest row began."""
    late = Row(ONE.key, START + DAY, ONE.published, "s-0001", 8, None)
    just_before = Row(ONE.key, START + DAY - 1, ONE.published, "s-0001", 8, None)

    def carried(row: Row) -> Any:
        return computed(Case((ONE, row), DAY, (None, None), ((0, ONE.key, row.at),)))[0][5]

    assert carried(late) is None
    assert carried(just_before) == "x"


def test_many_rows_keep_the_order_of_the_spine():
    """Rule 15: several row groups, several threads; the spine's order has no key."""
    sql = point_in_time_sql(
        "SELECT hash(range) AS label, range % 997 AS number, 'a' AS code, "
        f"make_timestamptz({START} + range) AS left_at FROM range(300000)",
        "left_at",
        [
            {
                "name": "view",
                "relation": "published",
                "keys": ["code", "number"],
                "event_time": "valid_at",
                "ttl_us": None,
                "features": [{"name": "plain", "ignore_nulls": False, "default_sql": "null"}],
            }
        ],
        status=False,
        hidden=["left_at"],
    )
    with CONNECTION.cursor() as cursor:
        cursor.register("published", published([ONE]))
        found = cursor.sql(sql).to_arrow_table().column("label").to_numpy()
        wanted = cursor.sql("SELECT hash(range) AS label FROM range(300000)").to_arrow_table()

    assert found.tolist() == wanted.column("label").to_numpy().tolist()
