"""A declared source of corrections supersedes events from its ingestion on (rules 8 and 9)."""

from __future__ import annotations

import csv

import pytest

from tests.projects.depot_project import SCAN_COLUMNS

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

SCANS = "models/staging/stg_yard__scans.sql"
#: s02 weighed 20 kg; s06 fell on another day; nobody ever sent s77.
CORRECTIONS = (
    ("s02", "N", 1, "bag", "25", "2026-03-02 09:30:00", "2026-03-05 06:00:00"),
    ("s02", "N", 1, "bag", "30", "2026-03-02 09:30:00", "2026-03-05 12:00:00"),
    ("s06", "N", 1, "bag", "7.75", "2026-03-02 23:30:00", "2026-03-05 12:00:00"),
    ("s77", "N1", 1, "tub", "50", "2026-03-04 10:00:00", "2026-03-05 12:00:00"),
)


@pytest.fixture
def corrected(depot):
    """The depot with corrections of its scans, which are typed as these are."""
    depot.edit(
        "models/staging/_sources.yml",
        "      - name: scans\n",
        "      - name: corrections\n        config: {event_time: scanned_at}\n      - name: scans\n",
    )
    types = (
        "scan_id, depot_code, dock_no::integer as dock_no, kind, weight_kg::double as weight_kg, "
    )
    times = "scanned_at::timestamp as scanned_at, ingested_at::timestamp as ingested_at"
    depot.add(
        "models/staging/stg_yard__corrections.sql",
        f"select {times}, {types.rstrip(', ')} from {{{{ source('yard', 'corrections') }}}}",
    )
    call = (
        "{{ featmill.corrected('deduplicated', ref('stg_yard__corrections'), event_id='scan_id', "
        "event_at='scanned_at') }}"
    )
    depot.edit(
        SCANS,
        ")\n\nselect * from deduplicated",
        f"),\n\ncorrected as (\n\n    {call}\n\n)\n\nselect * from corrected",
    )
    write(depot, CORRECTIONS)
    return depot


def write(depot, rows) -> None:
    with (depot.sources / "corrections.csv").open("w", newline="") as opened:
        csv.writer(opened).writerows([SCAN_COLUMNS, *rows])


def scans(depot) -> dict[str, tuple[float | None, str]]:
    """Scan -> its weight, and the day it happened."""
    columns = "scan_id, weight_kg, strftime(scanned_at, '%m-%d')"
    rows = depot.candidate("stg_yard__scans", columns)
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: (row[1], row[2]) for row in rows}


def test_a_correction_stands_in_for_its_event(corrected):
    """Rule 8: of several the last ingested; with the time that it states; others stay as they were."""
    before = scans(corrected)

    corrected.build_one("2026-03-06")

    after = scans(corrected)
    assert before["s02"] == (20.0, "03-02")
    assert (after["s02"], after["s06"]) == ((30.0, "03-02"), (7.75, "03-02"))
    assert after["s77"] == (50.0, "03-04")
    untouched = before.keys() - {"s02", "s06"}
    assert {scan: after[scan] for scan in untouched} == {scan: before[scan] for scan in untouched}


@pytest.mark.parametrize(
    ("cut_off", "weight"),
    [
        ("2026-03-05T05:59:59.999999Z", 20.0),
        ("2026-03-05T06:00:00Z", 25.0),
        ("2026-03-05T11:59:59.999999Z", 25.0),
        ("2026-03-05T12:00:00Z", 30.0),
    ],
)
def test_a_correction_counts_from_its_ingestion_on(corrected, cut_off, weight):
    """Rule 9: a build at an earlier cut-off reads what was known then."""
    corrected.build_one("2026-03-04", FEATMILL_CUT_OFF=cut_off)

    assert scans(corrected)["s02"][0] == weight


def test_a_correction_that_arrives_appends_a_snapshot_with_another_value(corrected):
    """Rule 9: a published value is never rewritten."""
    write(corrected, CORRECTIONS[:1])
    corrected.build_one("2026-03-05")
    write(corrected, CORRECTIONS)
    corrected.build_one("2026-03-05")

    first, second = [s for s in corrected.snapshots("dock__load") if s.as_of.day == 5]
    assert second.published_at > first.published_at
    weights = {
        row[0]: row[1]
        for row in corrected.read(
            f"SELECT snapshot_id, weight_kg_max_3d FROM read_parquet('{first.location}/*/*.parquet') "
            "WHERE depot_code = 'N' AND dock_no = 1"
        )
    }
    assert (weights[first.snapshot_id], weights[second.snapshot_id]) == (25.0, 30.0)
