"""The event log over real Delta tables: complete to its bookmark, never mixed, never rewritten (rules 8, 9 and 22)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from featmill.errors import ContractError, LakeError
from featmill.warehouse.event_log import (
    EventSource,
    append_events,
    event_log_of,
    events_sql,
    find_event_log,
    read_event_log,
)
from featmill.warehouse.lake import Lake
from tests.unit.warehouse.snapshots import snapshot

SCANS = EventSource(
    table="load",
    tenant="default",
    version="1",
    relation="scans",
    keys=("dock",),
    event_at="scanned_at",
    ingested_at="loaded_at",
    event_id="scan_id",
    values=("weight", "weight * 2", "tag"),
    conditions=("weight > 1", "kind = 'box'"),
)
COLUMNS = (
    "scan_id VARCHAR, dock INTEGER, kind ENUM ('box', 'bag'), weight DECIMAL(8, 2), tag UUID, "
    "scanned_at TIMESTAMP, loaded_at TIMESTAMP"
)
TAG = "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'"


def day(number: int, hour: int = 0) -> datetime:
    return datetime(2026, 3, number, hour, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "a lake")


@pytest.fixture
def scans():
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = 'UTC'; CREATE TABLE scans ({COLUMNS})")
        for number in (1, 2, 3, 4):
            add(connection, f"s{number}", number)
        yield connection


def add(connection, scan_id: str, known: int, happened: int | None = None, weight: str = "1.50"):
    connection.execute(
        f"INSERT INTO scans VALUES ('{scan_id}', 7, 'box', {weight}, {TAG}, "
        f"TIMESTAMP '2026-03-{happened or known:02} 10:00:00', TIMESTAMP '2026-03-{known:02} 11:00:00.000001')"
    )


def held(connection, log) -> list[str]:
    rows = connection.execute(f"SELECT event_id FROM ({events_sql(log)}) ORDER BY ALL").fetchall()
    return [row[0] for row in rows]


def commits(lake: Lake) -> int:
    return sum(1 for _ in lake.root.glob("**/events/**/_delta_log/*.json"))


def test_a_log_holds_what_was_ingested_up_to_its_cut_off_with_the_types_it_came_in(lake, scans):
    log = append_events(scans, lake, SCANS, day(3))

    found = scans.execute(f"SELECT * FROM ({events_sql(log)}) ORDER BY event_id").fetchall()
    wanted = scans.execute(
        "SELECT dock, scanned_at, loaded_at, scan_id, weight, weight * 2, tag, weight > 1, kind = 'box' "
        "FROM scans WHERE loaded_at <= '2026-03-03' ORDER BY scan_id"
    ).fetchall()
    assert found == wanted
    assert len(found) == 2
    types = [row[1] for row in scans.execute(f"DESCRIBE {events_sql(log)}").fetchall()]
    assert types == [
        row[1] for row in scans.execute(f"DESCRIBE SELECT * FROM ({SCANS.select()})").fetchall()
    ]
    assert dict(log.expressions) == {
        "weight": "v1",
        "weight * 2": "v2",
        "tag": "v3",
        "weight > 1": "w1",
        "kind = 'box'": "w2",
    }


def test_a_condition_that_is_null_is_false(lake, scans):
    add(scans, "s0", 1, weight="NULL")

    log = append_events(scans, lake, SCANS, day(2))

    found = scans.execute(f"SELECT w1 FROM ({events_sql(log)}) WHERE event_id = 's0'").fetchall()
    assert found == [(False,)]


def test_the_same_cut_off_twice_commits_nothing(lake, scans):
    first = append_events(scans, lake, SCANS, day(3))
    second = append_events(scans, lake, SCANS, day(3))

    assert second == first
    assert commits(lake) == 1


def test_a_later_cut_off_appends_what_is_new_however_late_it_happened(lake, scans):
    first = append_events(scans, lake, SCANS, day(3))
    add(scans, "late", 4, happened=1)

    log = append_events(scans, lake, SCANS, day(5))

    assert held(scans, log) == ["late", "s1", "s2", "s3", "s4"]
    assert log.location == first.location
    assert held(scans, first) == ["s1", "s2"], "rule 22: what was read before reads the same"
    added = DeltaTable(log.location).get_add_actions(flatten=True).column("num_records").to_pylist()
    assert sorted(added) == [2, 3], "nothing is written twice"


def test_an_earlier_cut_off_commits_nothing_and_reads_what_was_known_then(lake, scans):
    append_events(scans, lake, SCANS, day(5))

    log = append_events(scans, lake, SCANS, day(3))

    assert held(scans, log) == ["s1", "s2"]
    assert commits(lake) == 1


def test_a_cut_off_without_new_events_moves_the_bookmark_alone(lake, scans):
    append_events(scans, lake, SCANS, day(5))

    log = append_events(scans, lake, SCANS, day(6))

    assert log.cut_off == day(6)
    assert len(held(scans, log)) == 4


CHANGES = {
    "another value": "UPDATE scans SET weight = 9 WHERE scan_id = 's1'",
    "an event that is gone": "DELETE FROM scans WHERE scan_id = 's2'",
    "an event of another time": "UPDATE scans SET scanned_at = '2026-02-01' WHERE scan_id = 's1'",
    "an event of another key": "UPDATE scans SET dock = 8 WHERE scan_id = 's1'",
    "two values that changed places": "UPDATE scans SET weight = CASE scan_id WHEN 's1' THEN 2 ELSE 1 END",
    "an event that was learnt of before": "INSERT INTO scans SELECT 's9', * EXCLUDE scan_id FROM scans LIMIT 1",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
@pytest.mark.parametrize("cut_off", [day(5), day(3), day(2, 12)], ids=["later", "same", "earlier"])
def test_events_that_changed_before_the_bookmark_start_a_new_generation(
    lake, scans, change, cut_off
):
    scans.execute("UPDATE scans SET weight = 1 WHERE scan_id = 's1'")
    scans.execute("UPDATE scans SET weight = 2 WHERE scan_id = 's2'")
    if cut_off < day(3):
        scans.execute("UPDATE scans SET loaded_at = '2026-03-01 12:00:00' WHERE scan_id = 's2'")
    before = append_events(scans, lake, SCANS, day(3))
    scans.execute(change)

    log = append_events(scans, lake, SCANS, cut_off)

    assert Path(log.location).name == "g2"
    wanted = scans.execute(
        "SELECT scan_id FROM scans WHERE loaded_at <= ? ORDER BY 1", [cut_off]
    ).fetchall()
    assert held(scans, log) == [row[0] for row in wanted]
    assert held(scans, before) == ["s1", "s2"], "what was written stays"


def test_other_expressions_start_a_new_generation(lake, scans):
    append_events(scans, lake, SCANS, day(3))

    log = append_events(scans, lake, replace(SCANS, values=("weight",)), day(3))

    assert Path(log.location).name == "g2"
    assert list(log.types) == ["dock", "event_at", "ingested_at", "event_id", "v1", "w1", "w2"]


def test_a_value_of_another_type_starts_a_new_generation(lake, scans):
    append_events(scans, lake, SCANS, day(3))
    scans.execute("ALTER TABLE scans ALTER weight TYPE DECIMAL(9, 2)")

    assert Path(append_events(scans, lake, SCANS, day(3)).location).name == "g2"


def test_a_log_without_events_is_empty_and_typed(lake, scans):
    log = append_events(scans, lake, SCANS, day(1))

    assert held(scans, log) == []
    types = [row[1] for row in scans.execute(f"DESCRIBE {events_sql(log)}").fetchall()]
    assert types == list(log.types.values())


def published(lake, log, cut_off, **parts):
    """A snapshot that refers to a log, in the lake."""
    import pyarrow as pa

    wanted = snapshot(**parts)
    location = str(lake.location("load"))
    wanted = replace(wanted, location=location, cut_off=cut_off, events=log.reference)
    rows = pa.table({"dock": [7], "snapshot_id": [wanted.snapshot_id]})
    return lake.append(rows.to_reader(), wanted)


def test_a_log_is_found_by_its_snapshots_up_to_the_asked_cut_off(lake, scans):
    assert find_event_log(lake, "load") is None
    first = published(lake, append_events(scans, lake, SCANS, day(3)), day(3))
    add(scans, "late", 4, happened=1)
    published(lake, append_events(scans, lake, SCANS, day(5)), day(5), ordinal=1)

    assert held(scans, event_log_of(first)) == ["s1", "s2"]
    assert held(scans, find_event_log(lake, "load", cut_off=day(4))) == ["s1", "s2", "s3"]
    assert held(scans, find_event_log(lake, "load")) == ["late", "s1", "s2", "s3", "s4"]
    assert find_event_log(lake, "load", cut_off=day(9)).cut_off == day(5), "it reaches no further"


def test_a_generation_that_no_snapshot_refers_to_is_not_read(lake, scans):
    published(lake, append_events(scans, lake, SCANS, day(3)), day(3))
    append_events(scans, lake, replace(SCANS, values=("weight",)), day(5))

    log = find_event_log(lake, "load", cut_off=day(3))

    assert Path(log.location).name == "g1"


def test_a_snapshot_without_a_log_says_so(lake):
    assert event_log_of(snapshot()) is None


def test_files_without_a_commit_are_no_generation(lake, scans):
    left_by_a_kill = lake.root / "default" / "load" / "events" / "v1" / "g1"
    left_by_a_kill.mkdir(parents=True)
    (left_by_a_kill / "part-0.parquet").write_bytes(b"half")

    log = append_events(scans, lake, SCANS, day(3))

    assert held(scans, log) == ["s1", "s2"]


def test_a_log_that_somebody_else_wrote_to_is_refused(lake, scans):
    log = append_events(scans, lake, SCANS, day(3))
    table = DeltaTable(log.location).to_pyarrow_table()
    write_deltalake(log.location, table, mode="append")

    with pytest.raises(LakeError, match="version 1 was not written by featmill"):
        append_events(scans, lake, SCANS, day(5))


def test_a_version_that_is_not_there_is_refused(lake, scans):
    log = append_events(scans, lake, SCANS, day(3))

    with pytest.raises(LakeError, match="has no version 4"):
        read_event_log(log.location, delta_version=4)


def test_a_relation_that_is_gone_is_refused_before_anything_is_written(lake, scans):
    with pytest.raises(ContractError, match="keep_events"):
        append_events(scans, lake, replace(SCANS, relation="no_such_scans"), day(3))

    assert not lake.root.exists()


def test_a_key_that_has_the_name_of_a_log_column_is_refused(lake, scans):
    with pytest.raises(ContractError, match="has the name of a column of the event log"):
        append_events(scans, lake, replace(SCANS, keys=("Event_At",)), day(3))


steps = st.lists(
    st.tuples(
        st.sampled_from(["build", "add", "add", "change", "remove"]),
        st.integers(1, 9),
        st.integers(1, 9),
    ),
    max_size=10,
)


@settings(max_examples=40, deadline=None)
@given(steps=steps)
def test_after_any_history_a_log_holds_exactly_what_the_build_read(tmp_path_factory, steps):
    lake = Lake(tmp_path_factory.mktemp("lake"))
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = 'UTC'; CREATE TABLE scans ({COLUMNS})")
        for number, (what, one, other) in enumerate([*steps, ("build", 9, 1)]):
            if what == "add":
                add(connection, f"s{number}", known=one, happened=other)
            elif what == "change":
                connection.execute(
                    "UPDATE scans SET weight = ? WHERE day(loaded_at) = ?", [one, other]
                )
            elif what == "remove":
                connection.execute("DELETE FROM scans WHERE day(loaded_at) = ?", [one])
            else:
                log = append_events(connection, lake, SCANS, day(one))
                read = f"SELECT * FROM ({SCANS.select()}) WHERE ingested_at <= '{day(one)}' ORDER BY ALL"
                kept = f"SELECT * FROM ({events_sql(log)}) ORDER BY ALL"
                assert connection.execute(kept).fetchall() == connection.execute(read).fetchall()
