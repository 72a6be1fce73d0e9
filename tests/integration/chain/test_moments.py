"""as_of and cut-off: from the data or from a variable, never from the clock (rules 2 and 9)."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest

from featmill import clock
from featmill.errors import AsOfError, BuildError, SourceError
from orchestration import tasks
from tests.projects.depot_project import SCANS, TABLES, TRIPS, moment

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt")]


def test_as_of_is_the_newest_midnight_not_after_the_newest_ingestion(depot):
    """Rule 2: whatever the clock says, and over the sources of all feature tables."""
    depot.write_scans([row for row in SCANS if row[0] != "s10"])
    depot.write_trips([*TRIPS, (6, "AB-9", "1.00", "2026-03-07 00:00:00", "2026-03-08 00:00:00")])

    with clock.frozen(datetime(1999, 1, 1, tzinfo=UTC)):
        outcome = depot.build_one()

    assert (
        outcome.said[0] == "as_of 2026-03-08 00:00:00 UTC, rows ingested up to 2026-03-08 00:00:00"
    )
    assert depot.registry.newest().as_of == moment("2026-03-08")


def test_one_microsecond_before_midnight_the_day_is_not_over(depot):
    """Rule 2."""
    depot.write_scans([row for row in SCANS if row[0] != "s10"])
    depot.write_trips(
        [*TRIPS, (6, "AB-9", "1.00", "2026-03-07 00:00:00", "2026-03-07 23:59:59.999999")]
    )

    depot.build_one()

    assert depot.registry.newest().as_of == moment("2026-03-07")


def test_as_of_may_be_a_moment_in_any_zone(depot):
    """Rule 1: what is stored is UTC."""
    depot.build_one("2026-03-05T06:30:00+02:00")

    assert depot.releases[0].as_of == moment("2026-03-05 04:30:00")
    rows = depot.read("SELECT DISTINCT valid_at FROM dock__load ORDER BY 1")
    assert rows == [(moment("2026-03-05 04:30:00"),), (moment("2026-03-06"),)]


@pytest.mark.parametrize(
    "as_of", ["yesterday", "2026-3-5", "2026-03-05T06:30:00", "2026-04-31", "2026-04-31T00:00Z"]
)
def test_a_malformed_or_naive_as_of_is_refused(depot, as_of):
    """Rule 1: a moment without its zone is not a moment."""
    before = depot.state()

    with pytest.raises(AsOfError, match="FEATMILL_AS_OF") as refused:
        depot.build(as_of)

    assert refused.value.exit_code == 2
    assert as_of in str(refused.value)
    assert depot.state() == before


def test_a_malformed_cut_off_is_refused(depot):
    with pytest.raises(AsOfError, match="FEATMILL_CUT_OFF must be a UTC day"):
        depot.build(FEATMILL_CUT_OFF="soon")


def test_an_as_of_before_the_data_is_refused(depot):
    before = depot.state()

    with pytest.raises(AsOfError, match=r"is before the data: .* happened at 2026-03-01 08:00:00"):
        depot.build("2026-02-01")

    assert depot.state() == before


def test_a_history_that_was_loaded_in_one_go_can_be_built_for_its_days(depot):
    """The events happened long before anybody ingested them; the sources say when (dbt's event_time)."""
    loaded = "2026-03-07 00:00:00"
    depot.write_scans([(*scan[:6], loaded) for scan in SCANS if scan[6]])
    depot.write_trips([(*trip[:4], loaded) for trip in TRIPS])

    depot.build_one("2026-03-04")

    assert depot.releases[0].as_of == moment("2026-03-04")


def test_without_an_event_time_the_first_ingested_row_bounds_as_of(depot):
    depot.edit("models/staging/_sources.yml", "config: {event_time: scanned_at}", "")
    depot.edit("models/staging/_sources.yml", "config: {event_time: ended_at}", "")

    with pytest.raises(AsOfError, match=r"ingested at 2026-03-01 08:00:05; .* declare event_time"):
        depot.build("2026-03-01")


def test_no_events_at_all_is_an_error_that_says_so(depot):
    depot.write_scans([])
    depot.write_trips([])
    before = depot.state()

    with pytest.raises(SourceError, match="hold no events"):
        depot.build()

    assert depot.state() == before


def test_one_empty_source_of_several_is_no_error(depot):
    """Its table has no row, as nobody has an event (rule 20)."""
    shutil.rmtree(depot.home)
    depot.write_trips([])

    depot.build_one()

    assert depot.snapshots("van__trips")[-1].rows == 0
    assert depot.read("SELECT count(*) FROM van__trips") == [(0,)]
    assert depot.read("SELECT count(*) FROM dock__load") == [(4,)]


def test_a_source_that_was_emptied_does_not_empty_its_table(depot):
    """A full table that is suddenly empty is a source that did not arrive."""
    before = depot.state()
    depot.write_trips([])

    with depot.environment(), pytest.raises(BuildError, match="van__trips has no rows at as_of"):
        tasks.build(depot.settings)

    assert depot.state() == before


def test_a_source_without_a_file_names_every_place_looked_at(depot):
    (depot.sources / "scans.csv").unlink()
    before = depot.state()

    with pytest.raises(SourceError, match="'scans' has no file") as missing:
        depot.build()

    assert missing.value.exit_code == 1
    for place in ("scans.parquet", "scans.csv", "FEATMILL_SOURCES"):
        assert place in str(missing.value)
    assert depot.state() == before


def test_a_build_reads_only_rows_ingested_up_to_the_cut_off(depot):
    """Rule 9: s09 happened before March 5 and was learnt of at 09:00 that day."""
    before = "2026-03-05T08:59:59.999999Z"
    depot.build_one("2026-03-05", FEATMILL_CUT_OFF=before)
    depot.build_one("2026-03-05", FEATMILL_CUT_OFF="2026-03-05T09:00:00Z")

    without, with_it = depot.snapshots("dock__load")[-2:]
    weights = {
        row[0]: row[1]
        for row in depot.read(
            f"SELECT snapshot_id, weight_kg_mean_3d FROM read_parquet('{without.location}/*/*.parquet') "
            "WHERE depot_code = 'N' AND dock_no = 1"
        )
    }
    assert without.cut_off == moment("2026-03-05 08:59:59.999999")
    assert weights[without.snapshot_id] == pytest.approx((20 + 3) / 2)
    assert weights[with_it.snapshot_id] == pytest.approx((20 + 3 + 12) / 3)


def test_a_rebuild_from_the_recorded_cut_off_has_the_same_content(depot):
    """Rule 9: rows that arrived since, late ones among them, change nothing."""
    recorded = {table: depot.snapshots(table)[-1] for table in TABLES}
    late = ("s90", "N", 1, "box", "40", "2026-03-05 01:00:00", "2026-03-07 09:00:00")
    depot.write_scans([*SCANS, late])
    depot.write_trips([*TRIPS, (9, "AB-1", "99.00", "2026-03-05 01:00:00", "2026-03-07 09:00:00")])

    cut_off = recorded["dock__load"].cut_off.isoformat()
    again = depot.build_one("2026-03-06", FEATMILL_CUT_OFF=cut_off)
    assert {table: depot.snapshots(table)[-1] for table in TABLES} == recorded
    assert "van__trips unchanged" in " ".join(again.said)

    # Lest it pass because nothing ever changes: without the cut-off the late rows count.
    depot.build_one("2026-03-06")
    for table, before in recorded.items():
        assert depot.snapshots(table)[-1].content_hash != before.content_hash
