"""Backfill and the interval ledger, with real dbt (rules 9, 19 and 20)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, timedelta

import pytest

from featmill.errors import AsOfError, BuildError, GateFailed, UsageError
from featmill.warehouse.intervals import State
from orchestration.backfill import Backfill, Dates, Watch
from tests.projects.depot_project import SCANS, TABLES, TRIPS, moment

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt")]

FEATURES = "models/features/feat_dock__load"
LATE = ("s90", "N", 1, "box", "40", "2026-03-04 01:00:00", "2026-03-07 09:00:00")
DAYS = Dates(moment("2026-03-02"), moment("2026-03-05"))
AS_OFS = [moment(f"2026-03-0{day}") for day in (2, 3, 4, 5)]


def fill(depot, dates=DAYS, **how):
    with depot.environment():
        return Backfill(depot.settings).run(dates, **how)


def states(depot, dates=None, tables=None) -> dict[str, dict[int, str]]:
    """Table -> day of March -> state."""
    found: dict[str, dict[int, str]] = {}
    with depot.environment():
        for interval in Backfill(depot.settings).intervals(dates, tables):
            found.setdefault(interval.table, {})[interval.as_of.day] = interval.state.value
    return found


def contents(depot) -> dict[str, list[tuple]]:
    """What a build decides of every snapshot: all but when it was published, and where."""
    return {
        table: [
            (s.as_of, s.snapshot_id, s.fingerprint, s.content_hash, s.rows, s.cut_off, s.sources)
            for s in sorted(depot.snapshots(table), key=lambda s: s.snapshot_id)
        ]
        for table in TABLES
    }


def apart(depot, as_ofs=AS_OFS) -> dict[str, list[tuple]]:
    """The same dates in a home of its own, each by a `dbt build` of its own."""
    depot.home = depot.home.with_name("apart home")
    shutil.rmtree(depot.home, ignore_errors=True)
    for as_of in as_ofs:
        depot.build_one(as_of.isoformat())
    return contents(depot)


def without(found: dict[str, list[tuple]], day: str) -> dict[str, list[tuple]]:
    return {table: [row for row in rows if row[0] != moment(day)] for table, rows in found.items()}


def test_every_snapshot_is_the_one_that_a_build_of_its_own_makes(depot):
    """Rule 19: replayed or built by dbt, the identity is the same, content hash and all."""
    done = fill(depot)

    assert [built.as_of for built in done] == AS_OFS
    assert [built.by_dbt for built in done] == [True, False, False, False]
    assert without(contents(depot), "2026-03-06") == apart(depot)


def test_readers_see_what_a_backfill_published(depot):
    fill(depot)

    (days,) = depot.read("SELECT list(DISTINCT feature_at ORDER BY feature_at) FROM van__trips")
    assert [day.astimezone(UTC) for day in days[0]] == [*AS_OFS, moment("2026-03-06")]
    assert len(depot.candidate("van__trips", "DISTINCT feature_at")) == 5
    assert [release.as_of for release in depot.releases] == [*AS_OFS, moment("2026-03-06")]


def test_only_gaps_are_filled_and_a_second_time_nothing(depot):
    """Rule 19."""
    depot.build_one("2026-03-03")
    before = depot.state()

    done = fill(depot, Dates(AS_OFS[0], moment("2026-03-06")))

    assert [built.as_of.day for built in done] == [2, 4, 5]
    assert all(s in depot.snapshots("dock__load") for s in before["snapshots"]["dock__load"])
    after = depot.state()
    assert fill(depot, Dates(AS_OFS[0], moment("2026-03-06"))) == []
    assert depot.state() == after
    forced = fill(depot, force=True)
    assert len(forced) == 4
    assert depot.state() == after


def test_a_changed_definition_makes_its_table_stale_and_no_other(depot):
    """Rule 19: the correction has a later published_at, and what was published stands."""
    fill(depot)
    before = depot.state()["snapshots"]
    depot.edit(f"{FEATURES}.yml", "weight_kg >= 20", "weight_kg >= 30")

    assert Counter(states(depot)["dock__load"].values()) == {"stale": 5}
    assert Counter(states(depot)["van__trips"].values()) == {"complete": 5}
    done = fill(depot)

    assert {built.tables for built in done} == {("dock__load",)}
    assert depot.snapshots("van__trips") == before["van__trips"]
    for snapshot in before["dock__load"]:
        assert snapshot in depot.snapshots("dock__load")
        newest = max(
            (s for s in depot.snapshots("dock__load") if s.as_of == snapshot.as_of),
            key=lambda s: s.published_at,
        )
        assert (newest == snapshot) is (snapshot.as_of == moment("2026-03-06"))
    assert states(depot)["dock__load"] == {**dict.fromkeys((2, 3, 4, 5), "complete"), 6: "stale"}


def test_late_rows_make_the_dates_late_that_would_hold_them(depot):
    """Rule 9: by `ingested_at`, against each snapshot's own cut-off."""
    fill(depot)
    depot.write_scans([*SCANS, LATE])

    assert states(depot) == {
        "dock__load": {2: "complete", 3: "complete", 4: "complete", 5: "late", 6: "late"},
        "van__trips": dict.fromkeys(range(2, 7), "complete"),
    }
    before = depot.state()
    assert fill(depot) == []
    assert depot.state() == before

    (built,) = fill(depot, late=True)

    assert (built.as_of, built.tables) == (moment("2026-03-05"), ("dock__load",))
    first, second = [s for s in depot.snapshots("dock__load") if s.as_of == built.as_of]
    assert second.published_at > first.published_at
    assert second.cut_off == moment("2026-03-07 09:00:00")
    assert second.content_hash != first.content_hash
    assert states(depot)["dock__load"][5] == "complete"


def test_a_row_exactly_at_as_of_is_not_late_and_one_just_before_is(depot):
    """Rule 4: an event at as_of is outside."""
    at = (*LATE[:5], "2026-03-05 00:00:00", LATE[6])
    depot.build_one("2026-03-05")
    depot.write_scans([*SCANS, at])
    assert states(depot)["dock__load"] == {5: "complete", 6: "late"}

    depot.write_scans([*SCANS, (*LATE[:5], "2026-03-04 23:59:59.999999", LATE[6])])
    assert states(depot)["dock__load"] == {5: "late", 6: "late"}


def test_a_failed_gate_stops_and_says_what_is_done_and_what_remains(depot):
    """Rule 20: the dates before stand; the date itself is not released; resumed, nothing is built twice."""
    spoilt = [(*trip[:2], "-3.00", *trip[3:]) if trip[0] == 3 else trip for trip in TRIPS]
    depot.write_trips(spoilt)

    with pytest.raises(
        GateFailed, match=r"stopped at 2026-03-04 00:00:00: 2 of 4 dates are done, 2 remain"
    ) as stop:
        fill(depot)

    assert "no_van_drives_on_air" in str(stop.value)
    assert [r.as_of.day for r in depot.releases] == [2, 3, 6]
    assert states(depot, DAYS) == {
        "dock__load": {2: "complete", 3: "complete", 4: "blocked", 5: "missing"},
        "van__trips": {2: "complete", 3: "complete", 4: "failed", 5: "missing"},
    }
    # Readers have what was released before it stopped.
    assert depot.read("SELECT count(DISTINCT feature_at) FROM van__trips") == [(3,)]

    depot.write_trips()
    assert [built.as_of.day for built in fill(depot)] == [4, 5]
    assert set(states(depot, DAYS)["van__trips"].values()) == {"complete"}


def test_a_killed_backfill_goes_on_where_it_stopped(depot):
    """Rule 19: with kill -9 in the middle, the end is the same as without."""
    dates = Dates(moment("2026-03-02"), moment("2026-03-05"), timedelta(hours=6))
    command = [
        *[sys.executable, "-m", "featmill", "backfill", "--project-dir", str(depot.root)],
        *["--from", "2026-03-02", "--to", "2026-03-05", "--step", "6h"],
    ]
    with depot.environment():
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as running:
            for line in running.stdout:
                if line.startswith(" 4/13"):
                    break
            running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    killed_after = {release.as_of for release in depot.releases} - {moment("2026-03-06")}
    assert 4 <= len(killed_after) < 13

    done = fill(depot, dates)

    assert {built.as_of for built in done} == set(dates.as_ofs()) - killed_after
    interrupted = without(contents(depot), "2026-03-06")
    depot.home = depot.home.with_name("whole home")
    fill(depot, dates)
    assert interrupted == contents(depot)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param(
            "models/features/feat_van__trips.sql",
            "    trips_1d,\n",
            "    trips_1d + {{ 100 if '2026-03-04' in featmill.as_of() else 0 }} as trips_1d,\n",
            id="an expression that looks at the moment",
        ),
        pytest.param(
            "models/features/feat_van__trips.sql",
            "with trips as (",
            "{% set is_fourth = '2026-03-04' in featmill.as_of() %}with trips as (",
            id="a statement",
        ),
        pytest.param(
            "models/features/feat_van__trips.sql",
            "from trips",
            "from trips where (feature_at::varchar)[:10] = '{{ featmill.as_of()[11:21] }}'",
            id="a part of the moment",
        ),
        pytest.param(
            "models/staging/stg_fleet__trips.sql",
            "select * from deduplicated",
            "select * from deduplicated where loaded_at <= {{ featmill.cut_off() }}",
            id="a parent that is dated too",
        ),
    ],
)
def test_what_asks_for_the_moment_is_compiled_for_each_date(depot, file, old, new):
    """A date is what dbt makes of it, also where Jinja does more with the moment than write it down."""
    depot.edit(file, old, new)

    done = fill(depot)

    assert [built.by_dbt for built in done] == [True, False, False, False]
    assert without(contents(depot), "2026-03-06") == apart(depot)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param(
            "models/features/feat_van__trips.yml",
            "      event_time: feature_at\n",
            "      event_time: feature_at\n      post_hook: delete from {{ this }} where van_plate = 'AB-2'\n",
            id="a hook",
        ),
        pytest.param(
            "models/published/_published.yml",
            "  - name: van__trips\n",
            "  - name: van__trips\n    columns: [{name: van_plate, data_tests: [not_null]}]\n",
            id="a test of what is published",
        ),
    ],
)
def test_what_cannot_be_replayed_is_built_by_dbt(depot, file, old, new):
    depot.edit(file, old, new)

    done = fill(depot, Dates(AS_OFS[0], AS_OFS[2]))

    assert all(built.by_dbt for built in done)
    assert without(contents(depot), "2026-03-06") == apart(depot, AS_OFS[:3])


def test_dates_before_the_data_are_refused_up_front(depot):
    before = depot.state()

    with pytest.raises(AsOfError, match=r"2026-02-27 00:00:00 is before the data") as refused:
        fill(depot, Dates(moment("2026-02-27"), moment("2026-03-05")))
    assert refused.value.hint == "the first possible date is 2026-03-02"
    with pytest.raises(AsOfError, match="is after the data"):
        fill(depot, Dates(moment("2026-03-05"), moment("2026-04-05")))

    assert depot.state() == before


def test_an_empty_range_and_a_step_that_leads_nowhere_are_refused():
    with pytest.raises(UsageError, match="there is no date from 2026-03-05 to 2026-03-02"):
        Dates(moment("2026-03-05"), moment("2026-03-02")).as_ofs()
    with pytest.raises(UsageError, match="a step is longer than nothing"):
        Dates(AS_OFS[0], AS_OFS[1], timedelta(0)).as_ofs()


def test_a_table_that_is_unknown_is_refused(depot):
    with pytest.raises(UsageError, match="no feature table 'vans' is published"):
        states(depot, tables=["vans"])


def test_a_source_that_changes_meanwhile_stops_the_backfill(depot):
    """Rule 9: staging may hold other rows than the source has now."""
    seen = []

    def change(built):
        seen.append(built.as_of)
        if len(seen) == 2:
            depot.write_scans([*SCANS, LATE])

    with pytest.raises(BuildError, match="stopped at 2026-03-04"):
        fill(depot, watch=Watch(on_date=change))

    assert seen == AS_OFS[:2]
    assert [built.as_of.day for built in fill(depot)] == [4, 5]


def test_the_ledger_of_a_project_that_never_built_is_all_missing(depot):
    shutil.rmtree(depot.home)

    assert states(depot) == {}
    assert states(depot, DAYS)["van__trips"] == dict.fromkeys((2, 3, 4, 5), State.MISSING)


def test_a_new_process_and_a_smaller_selection_find_the_same_definition(depot):
    """Rule 19: a fingerprint depends neither on what else a build selected nor on who asks."""
    before = depot.state()
    again = depot.run("build", "-s", "+van__trips")

    assert again.returncode == 0, again.stdout
    assert depot.state() == before
    assert states(depot) == {table: {6: "complete"} for table in TABLES}
