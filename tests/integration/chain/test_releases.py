"""Tables are released together; readers see releases, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import duckdb
import pytest

from featmill.errors import BuildLocked
from tests.projects.depot_project import SCANS, TABLES, fresh_depot, moment

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt")]

NEW_SCAN = ("s99", "N", 1, "box", "1.25", "2026-03-05 20:00:00", "2026-03-05 20:00:00")
PARCELS = "SELECT sum(parcels_24h)::INTEGER FROM dock__load"


def test_a_release_waits_for_every_table(depot):
    """The registry is the commit point: published is not yet released."""
    before = depot.state()

    done = depot.dbt("build", "-s", "+van__trips", FEATMILL_AS_OF="2026-03-05")

    assert done.is_success
    assert "no release at 2026-03-05 00:00:00 UTC yet: dock__load is neither part of" in done.log
    assert len(depot.snapshots("van__trips")) == 2
    assert depot.releases == before["releases"]
    assert depot.read("SELECT DISTINCT feature_at FROM van__trips") == [(moment("2026-03-06"),)]

    depot.build_one("2026-03-05")
    assert [release.as_of for release in depot.releases] == [
        moment("2026-03-05"),
        moment("2026-03-06"),
    ]
    assert depot.read("SELECT count(DISTINCT feature_at) FROM van__trips") == [(2,)]


def test_an_older_as_of_does_not_become_the_newest_release(depot):
    newest = depot.registry.newest()

    depot.build_one("2026-03-04")

    assert depot.registry.newest() == newest


def test_a_view_shows_of_each_as_of_the_newest_correction(depot):
    """Rule 13."""
    depot.build_one("2026-03-05")
    depot.write_scans([*SCANS, NEW_SCAN])
    depot.build_one("2026-03-06")

    shown = depot.read("SELECT DISTINCT valid_at, snapshot_id FROM dock__load ORDER BY 1")

    newest = {s.as_of: s.snapshot_id for s in depot.snapshots("dock__load")}
    assert len(depot.snapshots("dock__load")) == 3
    assert shown == sorted(newest.items())
    tables = depot.read("SELECT table_name, table_type FROM information_schema.tables ORDER BY 1")
    assert tables == [(table, "VIEW") for table in sorted(TABLES)]


def test_a_reader_keeps_its_file_while_it_is_replaced(depot):
    """Renamed over, never written to: the old reader goes on, a new one sees the correction."""
    held = duckdb.connect(str(depot.settings.features_database), read_only=True)
    before = held.execute(PARCELS).fetchall()
    depot.write_scans([*SCANS, NEW_SCAN])

    depot.build_one()

    assert held.execute(PARCELS).fetchall() == before == [(3,)]
    held.close()
    assert depot.read(PARCELS) == [(4,)]
    left = {path.name for path in depot.home.iterdir()}
    assert left == {"build.duckdb", "features.duckdb", "lake"}


def test_readers_need_only_duckdb(depot):
    """A reader in a process of its own, without featmill."""
    path = str(depot.settings.features_database)
    probe = f"import duckdb; print(duckdb.connect({path!r}).execute({PARCELS!r}).fetchall())"

    done = subprocess.run(
        [sys.executable, "-I", "-c", probe], capture_output=True, text=True, check=False
    )

    assert done.stdout.strip() == "[(3,)]", done.stderr


def test_a_build_killed_while_publishing_leaves_nothing_half_done(depot):
    """kill -9 between two tables: no release, the readers' file untouched, and the next build completes it."""
    slow = "{{ config(pre_hook='select max(hash(range)) from range(1000000000000)') }}\n{{ f"
    depot.edit("models/published/dock__load.sql", "{{ f", slow)
    before = depot.state()
    rows = depot.read("SELECT * FROM van__trips ORDER BY ALL")
    first = (
        depot.settings.lake_dir / "default" / "van__trips" / "v1" / "_delta_log" / f"{1:020}.json"
    )

    with depot.environment(FEATMILL_AS_OF="2026-03-05"):
        building = subprocess.Popen(
            depot.command("build"),
            cwd=depot.root,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while not first.exists() and time.monotonic() < deadline and building.poll() is None:
            time.sleep(0.02)
    finally:
        os.killpg(building.pid, signal.SIGKILL)
    assert building.wait(10) == -signal.SIGKILL
    assert first.exists(), "it was killed before it published the first table"

    assert depot.snapshots("dock__load") == before["snapshots"]["dock__load"]
    assert depot.releases == before["releases"]
    assert depot.read("SELECT * FROM van__trips ORDER BY ALL") == rows

    published = depot.snapshots("van__trips")
    depot.edit("models/published/dock__load.sql", slow, "{{ f")
    depot.build_one("2026-03-05")
    assert depot.snapshots("van__trips") == published
    assert depot.releases[0].as_of == moment("2026-03-05")
    assert set(depot.releases[0].snapshots) == set(TABLES)


def test_a_locked_build_database_is_an_error_of_its_own(depot):
    """Another process has it open; ours waits for nothing and changes nothing."""
    before = depot.state()
    path = str(depot.settings.build_database)
    hold = (
        f"import duckdb, sys; c = duckdb.connect({path!r}); print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline().strip() == "1"

        with pytest.raises(BuildLocked, match="another process holds the build database") as locked:
            depot.build()

        holder.stdin.close()
    assert locked.value.exit_code == 1
    assert "features.duckdb" in str(locked.value.hint)
    assert depot.state() == before


def test_many_dates_in_one_process_equal_separate_builds(depot, tmp_path_factory):
    """Rule 19: a backfill in one dbt process is no other definition of the same snapshots."""
    dates = ("2026-03-03", "2026-03-04", "2026-03-05")
    together = depot.build(*dates)
    assert [len(outcome.failures) for outcome in together] == [0, 0, 0]
    found = {
        (t, s.as_of): (s.content_hash, s.fingerprint) for t in TABLES for s in depot.snapshots(t)
    }

    alone = fresh_depot(tmp_path_factory)
    for date in reversed(dates):
        alone.build_one(date)

    assert found == {
        (t, s.as_of): (s.content_hash, s.fingerprint) for t in TABLES for s in alone.snapshots(t)
    }
    assert len({content for content, _ in found.values()}) == len(found)
    # The later dates leave alone what does not depend on the date.
    ran = {result.name for result in together[1].results}
    assert "stg_yard__scans" not in ran
    assert {"feat_dock__load", "dock__load", "trn_delays"} <= ran
