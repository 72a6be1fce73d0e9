"""A lookup after an entity was deleted finds nothing until it is back (rules 11 and 20), whatever stores it."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from exporters.rows import visible_rows
from featmill.errors import UsageError
from featmill.training.absences import absences
from featmill.training.planner import Join, plan
from featmill.warehouse.changes import Storage
from featmill.warehouse.lake import Lake, newest_per_as_of, relation_sql
from featmill.warehouse.model import Snapshot
from featmill.warehouse.publisher import PublishOrder, publish
from tests.unit.online.tables import feature_table

CONNECTION = duckdb.connect(config={"threads": 1})
CONNECTION.execute("SET TimeZone = 'UTC'")
START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


#: After every day of a test: the same cut-off makes the later of two snapshots the one that knows more.
PINNED = START + 30 * DAY


def put(
    lake: Lake, day: int, rows: dict[str, tuple[int, int]], storage: Storage, cut_off=None
) -> Snapshot:
    """A snapshot of a day: entity -> how many days before it its row is valid from, and its value.

    It is made of what was known by its as_of, or by the cut-off.
    """
    as_of = START + day * DAY
    CONNECTION.execute(
        "CREATE OR REPLACE TABLE candidate (k VARCHAR, valid_at TIMESTAMP, n BIGINT)"
    )
    for key, (age, value) in rows.items():
        at = (as_of - age * DAY).replace(tzinfo=None)
        CONNECTION.execute("INSERT INTO candidate VALUES (?, ?, ?)", [key, at, value])
    order = PublishOrder(
        table="load", sql="SELECT * FROM candidate", as_of=as_of, cut_off=cut_off or as_of, join_keys=("k",),
        tenant="default", version="1", fingerprint="f", sources=(), event_time="valid_at",
        storage=storage,
    )  # fmt: skip
    return publish(CONNECTION, lake, order)[0]


def looked_up(
    snapshots: list[Snapshot], spine: list[tuple[str, datetime]], ttl=None, engine="auto"
):
    """Status and value of each row of the spine, by what `featmill train` runs."""
    listed = ", ".join(f"('{key}', TIMESTAMPTZ '{at}')" for key, at in spine)
    view = {
        "name": "v",
        "relation": f"({relation_sql(snapshots)})",
        "snapshots": snapshots,
        "keys": ["k"],
        "event_time": "valid_at",
        "ttl_us": None if ttl is None else ttl // timedelta(microseconds=1),
        "features": [{"name": "n", "ignore_nulls": False, "default_sql": "-1"}],
    }
    sql = f"SELECT * FROM (VALUES {listed}) AS spine(k, asked_at)"
    with CONNECTION.cursor() as cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        planned = plan(cursor, Join(sql, "asked_at", [view], status=True), engine=engine)
        rows = planned.reader(1000).read_all().to_pylist()
    return [(row["v__status"], row["v__n"], row["v__valid_at"]) for row in rows]


histories = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.dictionaries(
            st.sampled_from("abc"),
            st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.integers(0, 9)),
            min_size=1,
        ),
    ),
    min_size=2,
    max_size=6,
)


@settings(max_examples=12, deadline=None)
@given(histories, st.sampled_from([None, DAY, 3 * DAY]), st.sampled_from([None, PINNED]))
def test_a_lookup_equals_its_definition_where_entities_come_and_go(history, ttl, cut_off):
    """Rules 11, 12 and 20, for both storages, against plain Python."""
    spine = [(key, START + n * DAY / 2) for key in "abcd" for n in range(-1, 12)]
    with tempfile.TemporaryDirectory() as folder:
        answers = []
        for storage in ("full", "changes"):
            lake = Lake(Path(folder) / storage)
            for day, rows in history:
                put(lake, day, rows, storage, cut_off)
            newest = newest_per_as_of(lake.snapshots("load"))
            answers.append(looked_up(newest, spine, ttl))
            known = {(s.as_of - START) // DAY: (s.cut_off, s.published_at) for s in newest}
    published: dict = {}
    for day, rows in history:
        published.pop(day, None)
        published[day] = rows

    expected = [definition(published, known, ttl, key, at) for key, at in spine]

    event(f"statuses: {sorted({row[0] for row in expected})}")
    assert answers[0] == expected
    assert answers[1] == expected


def definition(published, known, ttl, key, at):
    """The newest row stated by any snapshot, unless the entity is gone at the moment.

    `known` is day -> what its snapshot was made of, the greater the more.
    `published` is day -> rows, in the order of publishing: of rows for one time the last published counts (rule 13).
    """
    rows = {
        START + (day - held[key][0]) * DAY: held[key][1]
        for day, held in published.items()
        if key in held
    }
    stated = dict(sorted(published.items()))
    found = max((moment for moment in rows if moment <= at), default=None)
    days = [day for day in stated if START + day * DAY <= at]
    if found is None or is_gone(stated, known, key, days, found):
        return ("missing", -1, None)
    if ttl is not None and at >= found + ttl:
        return ("expired", -1, found)
    return ("ok", rows[found], found)


def is_gone(stated, known, key, days, found):
    """Whether, of the snapshots up to a moment, one after the row and after those that held the entity lacks it.

    It counts where it knows at least as much as the first known of the snapshots in a row that held it until then.
    """
    since = first_known = None
    held = False
    for day in days:
        if key in stated[day]:
            first_known = min(first_known, known[day]) if held else known[day]
            since, held = None, True
        else:
            held = False
            if since is None and first_known is not None and known[day] >= first_known:
                since = day
    return since is not None and START + since * DAY > found


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


@pytest.mark.parametrize("storage", ["full", "changes"])
def test_a_deleted_entity_is_missing_until_it_is_back(lake, storage):
    """Rule 11: also within the ttl of its last row."""
    made = [
        put(lake, 0, {"a": (0, 1), "b": (0, 1)}, storage),
        put(lake, 1, {"b": (0, 1)}, storage),
        put(lake, 2, {"a": (0, 2), "b": (0, 1)}, storage),
    ]
    edge = timedelta(microseconds=1)

    spine = [
        ("a", START + DAY - edge),
        ("a", START + DAY),
        ("a", START + 2 * DAY - edge),
        ("a", START + 2 * DAY),
    ]

    assert [row[:2] for row in looked_up(made, spine, 9 * DAY)] == [
        ("ok", 1),
        ("missing", -1),
        ("missing", -1),
        ("ok", 2),
    ]
    assert [s.vanished and s.vanished.entities for s in made] == [None, 1, 0]


@pytest.mark.parametrize("storage", ["full", "changes"])
def test_an_entity_learnt_of_by_a_correction_is_not_deleted_by_what_was_made_before(lake, storage):
    """Rules 9, 11 and 20: a late event of a day long built; only a snapshot made knowing of it can say it is gone."""
    put(lake, 0, {"b": (0, 1)}, storage, PINNED)
    later = put(lake, 1, {"b": (0, 1)}, storage, PINNED)
    corrected = [put(lake, 0, {"a": (0, 7), "b": (0, 1)}, storage, PINNED), later]
    spine = [("a", START), ("a", START + DAY), ("a", START + 2 * DAY)]

    assert absences(CONNECTION, corrected, f"({relation_sql(corrected)})", ["k"]) is None
    assert [row[:2] for row in looked_up(corrected, spine)] == [("ok", 7)] * 3
    assert [row[0] for row in looked_up(corrected, spine, 2 * DAY)] == ["ok", "ok", "expired"]
    assert looked_up(corrected, spine, engine="equi") == looked_up(corrected, spine)
    known = [*corrected, put(lake, 2, {"b": (0, 1)}, storage, PINNED)]
    assert [row[0] for row in looked_up(known, spine)] == ["ok", "ok", "missing"]


@pytest.mark.parametrize("known_by", ["cut-off", "published"])
def test_a_correction_of_the_eve_does_not_undo_a_delete(lake, known_by):
    """Rule 11: the snapshot that lacks the entity was made when it had long been known."""
    cut_off = PINNED if known_by == "published" else None
    made = [put(lake, day, {"a": (0, 1), "b": (0, 1)}, "full", cut_off) for day in range(2)]
    made.append(put(lake, 2, {"b": (0, 1)}, "full", cut_off))
    eve = put(lake, 1, {"a": (0, 1), "b": (0, 9)}, "full", PINNED)

    found = looked_up([made[0], eve, made[2]], [("a", START + DAY), ("a", START + 2 * DAY)])

    assert [row[0] for row in found] == ["ok", "missing"]


def test_where_nothing_vanished_nothing_is_read_to_find_it_out(lake):
    """Publishing recorded it; without the record it is found out once."""
    made = [put(lake, day, {"a": (0, day), "b": (0, 1)}, "full") for day in range(3)]

    assert absences(CONNECTION, made, "(SELECT * FROM nowhere)", ["k"]) is None
    corrected = [made[0], put(lake, 1, {"a": (0, 7), "b": (0, 1)}, "full"), made[2]]
    with pytest.raises(duckdb.CatalogException, match="nowhere"):
        absences(CONNECTION, corrected, "(SELECT * FROM nowhere)", ["k"])
    assert absences(CONNECTION, corrected, f"({relation_sql(corrected)})", ["k"]) is None
    assert absences(CONNECTION, corrected, "(SELECT * FROM nowhere)", ["k"]) is None


def test_an_engine_that_does_not_see_it_is_refused(lake):
    made = [put(lake, 0, {"a": (0, 1), "b": (0, 1)}, "full"), put(lake, 1, {"b": (0, 1)}, "full")]

    with pytest.raises(UsageError, match="entities vanished"):
        looked_up(made, [("a", START)], engine="equi")


def test_both_storages_put_the_same_rows_online(tmp_path):
    """Rules 11 and 12: what an export writes and what it deletes, of whole snapshots and of changes."""
    table = feature_table("load", keys={"k": "VARCHAR"}, features={"n": "BIGINT"})
    table = table.model_copy(update={"event_time": "valid_at", "ttl": 9 * DAY})
    days = [
        {"a": (0, 1), "b": (0, 1), "c": (2, 5)},
        {"b": (0, 2), "c": (0, 5)},
        {"b": (0, 3), "c": (3, 5)},
    ]
    answers = []
    for storage in ("full", "changes"):
        lake = Lake(tmp_path / storage)
        made = [put(lake, day, rows, storage) for day, rows in enumerate(days)]
        with visible_rows(table, made[-1], made) as visible:
            answers.append(
                (
                    visible.reader().read_all().to_pylist(),
                    visible.vanished(made).read_all().to_pylist(),
                    visible.count,
                    len(visible.holds),
                )
            )

    rows, vanished, count, holds = answers[0]
    assert answers[1] == answers[0]
    assert [(row["k"], row["n"]) for row in rows] == [("b", 3), ("c", 5)]
    # The newest row of c is one of the second day: its snapshot of the third restates an older one.
    assert [row["valid_at"] for row in rows] == [START + 2 * DAY, START + DAY]
    assert (vanished, count, holds) == ([{"k": "a"}], 2, 2)
