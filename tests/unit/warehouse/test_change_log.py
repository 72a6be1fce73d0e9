"""Change snapshots read back as full ones do: the same publishes into two lakes, one for each storage."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from featmill.errors import LakeError
from featmill.warehouse import changes as changes_module
from featmill.warehouse import publisher
from featmill.warehouse.change_log import MAX_CHAIN
from featmill.warehouse.changes import MAX_CHAIN_SHARE, MIN_ROWS, Storage
from featmill.warehouse.lake import Lake, files, newest_per_as_of, relation_sql
from featmill.warehouse.model import Snapshot
from featmill.warehouse.publisher import PublishOrder, publish

CONNECTION = duckdb.connect(config={"threads": 1})
CONNECTION.execute("SET TimeZone = 'UTC'")
STORAGES: tuple[Storage, ...] = ("full", "changes")
START = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = "code VARCHAR, number INTEGER, valid_at TIMESTAMP, amount DOUBLE, labels VARCHAR[], rates DOUBLE[]"
#: Keys that read the same when they are run together.
KEYS = [("a", 11), ("a1", 1), ("a", 1), ("b", 0)]

Row = tuple[Any, ...]


def order(day: int, storage: Storage, **changed: Any) -> PublishOrder:
    as_of = START + timedelta(days=day)
    given_order = PublishOrder(
        table="load", sql="SELECT * FROM candidate", as_of=as_of, cut_off=as_of,
        join_keys=("code", "number"), tenant="default", version="1", fingerprint="f" * 64, sources=(),
        event_time="valid_at", storage=storage,
    )  # fmt: skip
    return replace(given_order, **changed)


def candidate(rows: Sequence[Row], columns: str = COLUMNS) -> None:
    CONNECTION.execute(f"CREATE OR REPLACE TABLE candidate ({columns})")
    if rows:
        CONNECTION.executemany(
            f"INSERT INTO candidate VALUES ({', '.join('?' * len(rows[0]))})", rows
        )


def put(lake: Lake, day: int, rows: Sequence[Row], storage: Storage = "changes", **changed: Any):
    candidate(rows)
    return publish(CONNECTION, lake, order(day, storage, **changed))[0]


def read(snapshots: Sequence[Snapshot], columns: str = "* EXCLUDE (published_at)") -> list[Row]:
    """The rows as texts: 0.0 and -0.0 are one number and two contents."""
    sql = f"SELECT {columns} FROM ({relation_sql(snapshots)})"
    return CONNECTION.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({sql}) ORDER BY ALL").fetchall()


@dataclass(frozen=True)
class Made:
    """One publish: the day it is of, and its rows."""

    day: int
    rows: tuple[Row, ...]


@st.composite
def publishes(draw: st.DrawFn) -> list[Made]:
    """Days in any order, some more than once; entities that come, go, change and have several rows."""
    made = []
    for _ in range(draw(st.integers(2, 7))):
        day = draw(st.integers(0, 4))
        at = START.replace(tzinfo=None) + timedelta(days=day)
        near = [at, at, at, at - timedelta(days=1), at + timedelta(days=1)]
        moments = st.sampled_from([*near, datetime(2026, 2, 1)])  # noqa: DTZ001
        rows = st.tuples(
            st.sampled_from(KEYS),
            moments,
            st.sampled_from([None, 0.0, -0.0, 1.5, float("nan")]),
            st.sampled_from([None, [], ["x"], ["x", None]]),
            st.sampled_from([None, [0.0], [-0.0]]),
        )
        found = draw(st.lists(rows, min_size=1, max_size=5, unique_by=lambda row: (row[0], row[1])))
        made.append(Made(day, tuple((*key, *rest) for key, *rest in found)))
    return made


@settings(max_examples=60, deadline=None)
@given(publishes(), st.data())
def test_both_storages_read_back_the_same_rows(made, data):
    """Rules 9 and 22, for every snapshot alone, for all, and for any of them together."""
    with tempfile.TemporaryDirectory() as folder:
        lakes = {storage: Lake(Path(folder) / storage) for storage in STORAGES}
        found: dict[str, list[Snapshot]] = {"full": [], "changes": []}
        alone: list[list[Row]] = []
        for one in made:
            for storage, lake in lakes.items():
                snapshot = put(lake, one.day, one.rows, storage)
                if snapshot not in found[storage]:
                    found[storage].append(snapshot)
            assert read(found["changes"][-1:]) == read(found["full"][-1:])
            alone = alone or [read(found["changes"][:1])]
        full, changes = found["full"], found["changes"]
        event(f"{sum(s.change is not None for s in changes)} change snapshots")

        assert [s.snapshot_id for s in full] == [s.snapshot_id for s in changes]
        assert read(changes[:1]) == alone[0]
        assert read(changes) == read(full)
        newest = [s.snapshot_id for s in newest_per_as_of(full)]
        picked = data.draw(st.sets(st.sampled_from([s.snapshot_id for s in full]), min_size=1))
        for ids in (newest, picked):
            some = [[s for s in made_by if s.snapshot_id in ids] for made_by in (full, changes)]
            assert read(some[1]) == read(some[0])
            moments = "snapshot_id, published_at"
            of_each = [
                {s.snapshot_id: str(s.published_at) for s in side if s.rows} for side in some
            ]
            stated: dict[str, str] = dict(read(some[1], moments))
            assert {i: t[:19] for i, t in stated.items()} == {
                i: t[:19] for i, t in of_each[1].items()
            }


ROWS: list[tuple] = [("a", n, START.replace(tzinfo=None), 1.0, [], []) for n in range(8)]


def on(day: int, rows: Sequence[Row] = ROWS, **amounts: Any) -> list[Row]:
    """The rows valid from a day, some with another amount, by their number as `n3=2.0`."""
    at = START.replace(tzinfo=None) + timedelta(days=day)
    return [(*row[:2], at, amounts.get(f"n{row[1]}", row[3]), *row[4:]) for row in rows]


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "a lake's")


def test_an_unchanged_row_is_not_stored_and_reads_with_its_own_snapshots_moments(lake):
    """Rule 19: what a window restates each day is no change; `published_at` and the id are each snapshot's own."""
    first, second = put(lake, 0, on(0)), put(lake, 1, on(1, n3=2.0))

    assert first.change is None
    assert second.change is not None
    assert (second.change.base, second.change.depth, second.change.rows) == (
        first.snapshot_id,
        1,
        1,
    )
    (row,) = read([second], "DISTINCT valid_at, published_at, snapshot_id")
    assert row[0].startswith("2026-03-02 00:00:00")
    assert row[2] == second.snapshot_id


def test_an_event_time_of_its_own_is_a_value(lake):
    """A row valid from 1 March stays so in the snapshot of 2 March, also where 1 March was an as_of."""
    put(lake, 0, on(0))
    kept = [*on(0)[:1], *on(1)[1:]]
    second = put(lake, 1, kept)
    third = put(lake, 2, [*on(0)[:1], *on(2)[1:]])

    assert [s.change.rows for s in (second, third)] == [1, 0]
    assert [row[0][:10] for row in read([third], "valid_at")] == ["2026-03-01"] + ["2026-03-03"] * 7


def test_a_vanished_entity_is_stored_as_a_tombstone_and_not_read(lake):
    """Rule 11."""
    put(lake, 0, on(0))
    second = put(lake, 1, on(1)[1:])
    third = put(lake, 2, on(2))

    assert second.change.rows == 1
    assert [row[0] for row in read([second], "number")] == [str(n) for n in range(1, 8)]
    assert len(read([third])) == 8
    assert len(read(lake.snapshots("load"))) == 8 + 7 + 8


@pytest.mark.parametrize(("was", "now"), [(0.0, -0.0), (None, 0.0), (float("nan"), None)])
def test_a_value_is_compared_as_it_reads_not_as_a_number(lake, was, now):
    """Rule 19: 0.0 and -0.0 are two contents."""
    put(lake, 0, on(0, n3=was))
    second = put(lake, 1, on(1, n3=now))

    assert second.change.rows == 1
    assert read([second], "amount").count((None if now is None else str(now),)) == 1


def test_a_correction_stands_on_what_it_corrects_and_changes_nothing_published(lake):
    """Rules 9 and 22."""
    first, second = put(lake, 0, on(0)), put(lake, 1, on(1, n3=2.0))
    third = put(lake, 2, on(2, n3=2.0))
    before = [read([s]) for s in (first, second, third)]

    correction = put(lake, 1, on(1, n4=5.0))

    assert correction.change.base == second.snapshot_id
    assert correction.change.rows == 2
    assert [read([s]) for s in (first, second, third)] == before
    apart = [read([s], "snapshot_id, amount") for s in (first, correction, third)]
    assert read([first, correction, third], "snapshot_id, amount") == sorted(
        row for rows in apart for row in rows
    )


def test_a_chain_begins_anew_when_it_is_long(lake):
    made = [put(lake, day, on(day)) for day in range(MAX_CHAIN + 3)]
    depths = [0 if s.change is None else s.change.depth for s in made]

    assert depths == [*range(MAX_CHAIN + 1), 0, 1]
    assert len(read(made)) == 8 * len(made)


def test_a_chain_begins_anew_when_its_changes_outgrow_the_rows(lake):
    def of(day: int) -> dict[str, Any]:
        return {f"n{n}": float(day) for n in range(6)}

    made = [put(lake, day, on(day, **of(day))) for day in range(4)]

    assert [s.change and s.change.chain_rows for s in made] == [None, 6, 12, None]
    assert 18 > MAX_CHAIN_SHARE * 8 >= 12


@pytest.mark.parametrize(("moved", "is_change"), [(0, True), (3_000, True), (3_001, False)])
def test_auto_stores_changes_where_few_rows_change(lake, moved, is_change):
    for day in range(2):
        CONNECTION.execute(
            "CREATE OR REPLACE TABLE candidate AS SELECT 'a' AS code, range::INTEGER AS number, "
            f"TIMESTAMP '{START:%F}' + to_days({day}) AS valid_at, "
            f"CASE WHEN range < {moved * day} THEN 1 ELSE 0 END AS amount FROM range({MIN_ROWS})"
        )
        snapshot, _ = publish(CONNECTION, lake, order(day, "auto"))

    assert (snapshot.change is not None) is is_change


def test_auto_stores_small_tables_and_full_stores_all_whole(lake, tmp_path):
    assert put(lake, 0, on(0), "auto").change is None
    assert put(lake, 1, on(1), "auto").change is None
    assert put(lake, 2, on(2), "changes").change is not None
    assert put(lake, 3, on(3), "full").change is None


def test_a_column_that_is_added_begins_a_chain(lake):
    """Rows of before have no value to compare with."""
    put(lake, 0, on(0))
    candidate([(*row, 1) for row in on(1)], f"{COLUMNS}, added INTEGER")
    wider = publish(CONNECTION, lake, order(1, "changes"))[0]
    candidate([(*row, 1) for row in on(2)], f"{COLUMNS}, added INTEGER")
    last = publish(CONNECTION, lake, order(2, "changes"))[0]

    assert [s.change for s in (wider,)] == [None]
    assert last.change.rows == 0
    assert len(read(lake.snapshots("load"), "added")) == 24


def test_a_row_without_a_key_keeps_a_snapshot_whole(lake):
    put(lake, 0, on(0))
    candidate([*on(1), (None, 9, None, None, None, None)])

    snapshot, _ = publish(CONNECTION, lake, order(1, "changes"))

    assert (snapshot.change, len(read([snapshot]))) == (None, 9)


def test_the_same_candidate_is_unchanged(lake):
    """Rule 19."""
    put(lake, 0, on(0))
    second = put(lake, 1, on(1))

    assert publish(CONNECTION, lake, order(1, "changes")) == (second, False)


def test_what_does_not_read_back_is_refused_and_published_anew(lake, monkeypatch):
    """A snapshot that nobody may trust is not taken for `unchanged` by the next build."""
    put(lake, 0, on(0))
    with monkeypatch.context() as patched:
        patched.setattr(publisher, "is_stored", lambda *_: False)
        with pytest.raises(LakeError, match="does not read back"):
            put(lake, 1, on(1, n3=2.0))
    broken = lake.snapshots("load")[-1]
    with monkeypatch.context() as patched:
        patched.setattr(publisher, "reads_back", lambda *_: False)
        healed = put(lake, 1, on(1, n3=2.0))

    assert healed.snapshot_id != broken.snapshot_id
    assert read([healed], "amount") == read([broken], "amount")


def test_a_damaged_file_is_noticed(lake):
    """What was written is compared with what is read."""
    put(lake, 0, on(0))
    second = put(lake, 1, on(1, n3=2.0))
    candidate(on(1, n3=2.5))
    other = publisher._candidate(CONNECTION, order(1, "changes"))

    assert not changes_module.reads_back(CONNECTION, other, second)


def test_the_files_of_a_change_snapshot_are_not_its_rows(lake):
    first, second = put(lake, 0, on(0)), put(lake, 1, on(1))

    assert len(files([first])) == 1
    with pytest.raises(LakeError, match="hold only what changed"):
        files([second])


def test_a_chain_without_its_base_is_an_error(lake):
    put(lake, 0, on(0))
    second = put(lake, 1, on(1))
    orphan = replace(second, change=replace(second.change, base="gone"))

    with pytest.raises(LakeError, match="the base gone of snapshot"):
        relation_sql([orphan])
