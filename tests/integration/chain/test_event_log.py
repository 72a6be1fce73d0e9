"""The event log in dbt builds: kept by what passed the gate, complete, and never ahead of what refers to it."""

from __future__ import annotations

import subprocess
import sys

import duckdb
import pytest

from featmill.warehouse.event_log import event_log_of, events_sql, find_event_log
from tests.projects.depot_project import TRIPS, Depot, moment

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

FEATURES = "models/features/feat_van__trips.yml"
DECLARED = "entity: van, join_keys: [van_plate]"
LATE = (6, "AB-2", "1.00", "2026-03-02 12:00:00", "2026-03-06 01:00:00")

#: The process dies where the events are committed and the snapshot is not.
KILLED = """
import os, signal, sys
from featmill.warehouse import session
session.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from dbt.cli.main import cli
cli(sys.argv[1:])
"""


def keep_events(depot: Depot) -> None:
    depot.edit(FEATURES, DECLARED, f"{DECLARED}, keep_events: true")


def kept(depot: Depot, cut_off: str | None = None) -> list[tuple]:
    """The events of the log, by their ids."""
    log = find_event_log(
        depot.registry.lake, "van__trips", cut_off=moment(cut_off) if cut_off else None
    )
    assert log is not None
    with duckdb.connect() as connection:
        return connection.execute(
            f"SELECT event_id, van_plate, event_at::VARCHAR, v1 FROM ({events_sql(log)}) ORDER BY event_id"
        ).fetchall()


def ids(depot: Depot, cut_off: str | None = None) -> str:
    return "".join(row[0] for row in kept(depot, cut_off))


def test_no_events_are_kept_unless_declared(depot):
    assert find_event_log(depot.registry.lake, "van__trips") is None
    assert all(snapshot.events is None for snapshot in depot.snapshots("van__trips"))


def test_a_build_keeps_the_accepted_events_and_its_snapshot_says_which(depot):
    keep_events(depot)
    depot.build_one("2026-03-05")

    newest = depot.snapshots("van__trips")[-1]
    assert newest.events == "g1@0"
    assert [row[0] for row in kept(depot)] == ["1", "2", "3", "4", "5"]
    assert kept(depot)[2][2] == "2026-03-03 23:59:59.999999"
    assert event_log_of(newest) == find_event_log(depot.registry.lake, "van__trips")
    assert depot.registry.lake.tables() == ["dock__load", "van__trips"], "a log is no feature table"


def test_late_events_are_appended_and_earlier_cut_offs_read_as_before(depot):
    keep_events(depot)
    depot.build_one("2026-03-05", FEATMILL_CUT_OFF="2026-03-05T12:00:00Z")
    depot.write_trips([*TRIPS, LATE])
    depot.build_one("2026-03-06")
    depot.build_one("2026-03-06")

    assert ids(depot) == "123456"
    assert ids(depot, "2026-03-05T12:00:00") == "12345"
    assert depot.snapshots("van__trips")[-1].events == "g1@1"

    depot.build_one("2026-03-05", FEATMILL_CUT_OFF="2026-03-05T06:00:00Z")
    assert depot.snapshots("van__trips")[-1].events == "g1@1", "an earlier cut-off appends nothing"


def test_a_failed_gate_keeps_no_events(depot):
    keep_events(depot)
    depot.write_trips([*TRIPS, (7, "AB-1", "-5.00", "2026-03-04 12:00:00", "2026-03-04 12:00:01")])

    done = depot.dbt("build", FEATMILL_AS_OF="2026-03-05")

    assert not done.is_success
    assert "van__trips" in done.skipped
    assert not list(depot.settings.lake_dir.glob("**/events"))


def test_a_corrected_event_starts_a_new_generation_and_the_old_snapshot_keeps_its_own(depot):
    keep_events(depot)
    depot.build_one("2026-03-05")
    before = depot.snapshots("van__trips")[-1]
    depot.write_trips([(1, "AB-1", "99.00", *TRIPS[0][3:]), *TRIPS[1:]])
    depot.build_one("2026-03-05")

    assert depot.snapshots("van__trips")[-1].events == "g2@0"
    assert str(kept(depot)[0][3]) == "99.00"
    log = event_log_of(before)
    assert log is not None
    with duckdb.connect() as connection:
        first = connection.execute(
            f"SELECT min(v1) FILTER (event_id = '1') FROM ({events_sql(log)})"
        )
        assert str(first.fetchall()[0][0]) == "10.50"


def test_a_build_killed_after_the_events_leaves_nothing_wrong(depot):
    keep_events(depot)
    before = len(depot.snapshots("van__trips"))
    command = depot.command("build", "-s", "+van__trips")
    with depot.environment(FEATMILL_AS_OF="2026-03-05"):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, *command[3:]],
            cwd=depot.root,
            capture_output=True,
            check=False,
            timeout=120,
        )
    assert killed.returncode == -9, killed.stdout[-2000:]
    assert len(depot.snapshots("van__trips")) == before
    assert find_event_log(depot.registry.lake, "van__trips") is None, "no snapshot refers to it"
    assert list(depot.settings.lake_dir.glob("**/events/v1/g1/_delta_log/*.json"))

    depot.build_one("2026-03-05")

    assert depot.snapshots("van__trips")[-1].events == "g1@0", "nothing is written twice"
    assert ids(depot) == "12345"


def test_keep_events_without_windows_is_refused(depot):
    keep_events(depot)
    (depot.root / "models/features/feat_van__trips.sql").write_text(
        "select van_plate, {{ featmill.as_of() }} as feature_at, 1 as trips_1d, "
        "1::decimal(10, 2) as fuel_litres_1d, 1::decimal(8, 2) as last_fuel_litres_1d "
        "from {{ ref('stg_fleet__trips') }} group by van_plate"
    )

    done = depot.dbt("build", FEATMILL_AS_OF="2026-03-05")

    assert "there are no events to keep" in done.messages["van__trips"]
