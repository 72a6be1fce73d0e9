"""What changes a published value, and what does not (rules 9, 13 and 19)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from deltalake import DeltaTable

from featmill import clock
from tests.projects.depot_project import SCANS, TABLES

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt")]

FEATURES = "models/features/feat_dock__load"
NEW_SCAN = ("s99", "N", 1, "box", "1.25", "2026-03-05 20:00:00", "2026-03-05 20:00:00")


def test_a_build_that_changes_nothing_appends_nothing(depot):
    """Rule 19: no Delta version, no release, and the same rows for readers."""
    before = depot.state()
    rows = depot.read("SELECT * FROM dock__load ORDER BY ALL")

    outcome = depot.build_one()

    assert depot.state() == before
    assert outcome.said[-1].startswith("unchanged release ")
    for table in TABLES:
        (snapshot,) = depot.snapshots(table)
        assert DeltaTable(snapshot.location).version() == snapshot.delta_version == 0
    assert depot.read("SELECT * FROM dock__load ORDER BY ALL") == rows


def test_a_changed_source_appends_a_correction_that_readers_see(depot):
    """Rules 9 and 13: later published_at, higher id; what was published stands as it was."""
    (first,) = depot.snapshots("dock__load")
    depot.write_scans([*SCANS, NEW_SCAN])

    depot.build_one()

    before, after = depot.snapshots("dock__load")
    assert before == first
    assert (after.as_of, after.fingerprint) == (first.as_of, first.fingerprint)
    assert after.published_at > first.published_at
    assert after.snapshot_id > first.snapshot_id
    assert after.delta_version == 1
    seen = "SELECT snapshot_id, parcels_24h FROM dock__load WHERE depot_code = 'N' AND dock_no = 1"
    assert depot.read(seen) == [(after.snapshot_id, 3)]
    kept = f"SELECT parcels_24h FROM read_parquet('{first.location}/snapshot_id={first.snapshot_id}/*')"
    assert (2,) in depot.read(kept)
    # The other table does not read that source: its snapshot is a member of both releases.
    old, new = depot.releases
    assert old.snapshots["van__trips"] == new.snapshots["van__trips"]
    assert new.snapshots["dock__load"] == after.snapshot_id


def test_back_to_the_rows_before_is_a_correction_too(depot):
    """Rule 13: of three corrections the last counts, whatever stands in the first."""
    depot.write_scans([*SCANS, NEW_SCAN])
    depot.build_one()
    depot.write_scans()
    depot.build_one()

    first, _, third = depot.snapshots("dock__load")

    assert third.content_hash == first.content_hash
    assert third.snapshot_id > first.snapshot_id
    assert depot.read("SELECT DISTINCT snapshot_id FROM dock__load") == [(third.snapshot_id,)]
    assert depot.registry.newest().snapshots["dock__load"] == third.snapshot_id


def test_a_clock_that_stepped_back_does_not_hide_a_correction(depot):
    """Rule 9: a correction has a later published_at, and a further build changes nothing."""
    (first,) = depot.snapshots("dock__load")
    depot.write_scans([*SCANS, NEW_SCAN])

    with clock.frozen(datetime(2020, 1, 1, tzinfo=UTC)):
        depot.build_one()
        before = depot.state()
        depot.build_one()

    assert depot.state() == before
    second = depot.snapshots("dock__load")[1]
    assert second.published_at == first.published_at + timedelta(microseconds=1)
    assert depot.read("SELECT DISTINCT snapshot_id FROM dock__load") == [(second.snapshot_id,)]
    assert depot.registry.newest().snapshots["dock__load"] == second.snapshot_id


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param(
            f"{FEATURES}.sql", "    parcels_24h,", "    parcels_24h + 0 as parcels_24h,", id="sql"
        ),
        pytest.param(
            f"{FEATURES}.yml",
            "weight_kg, window: 3d, def",
            "weight_kg, window: 4d, def",
            id="window",
        ),
        pytest.param(f"{FEATURES}.yml", "weight_kg >= 20", "weight_kg >= 30", id="where"),
        pytest.param(f"{FEATURES}.yml", ">= 20, ", ">= 20, delay: 45m, ", id="delay"),
        pytest.param(f"{FEATURES}.yml", ">= 20, default: 0", ">= 20, default: 1", id="default"),
        pytest.param("models/staging/stg_yard__scans.sql", "<= {{", "< {{", id="a parent's sql"),
        pytest.param(
            "models/intermediate/int_docks.sql", "select ", "select distinct ", id="entities"
        ),
        pytest.param("seeds/docks.csv", "S,7", "S,8", id="a seed"),
        pytest.param("dbt_project.yml", "heaviest_kg: 1000", "heaviest_kg: 10", id="a var"),
        pytest.param("dbt_project.yml", "lightest_kg: 0", "lightest_kg: 1", id="the project's var"),
    ],
)
def test_a_changed_definition_appends_a_correction(depot, file, old, new):
    """Rule 19: of the table that it defines, and of no other."""
    (van,) = depot.snapshots("van__trips")
    depot.edit(file, old, new)

    depot.build_one()

    first, second = depot.snapshots("dock__load")
    assert second.fingerprint != first.fingerprint
    assert second.sources == first.sources
    assert depot.snapshots("van__trips") == [van]
    assert depot.registry.newest().snapshots["dock__load"] == second.snapshot_id


def test_a_changed_macro_appends_a_correction(depot):
    """Rule 19: also where the model's own text stays."""
    macro = "{% macro heavy() %}weight_kg > [1]{% endmacro %}"
    (depot.root / "macros").mkdir()
    depot.add("macros/heavy.sql", macro.replace("[1]", "500"))
    depot.edit(
        "models/staging/stg_yard__scans.sql",
        "weight_kg <= {{ var('heaviest_kg') }}",
        "not ({{ heavy() }})",
    )
    depot.build_one()

    depot.edit("macros/heavy.sql", "500", "10")
    depot.build_one()

    _, second, third = depot.snapshots("dock__load")
    assert second.fingerprint != third.fingerprint
    assert second.content_hash != third.content_hash


def test_a_var_of_the_command_line_appends_a_correction(depot):
    """Rule 19."""
    built = depot.dbt("build", "--vars", "{heaviest_kg: 10}")

    assert built.is_success
    first, second = depot.snapshots("dock__load")
    assert second.content_hash != first.content_hash


def test_comments_layout_and_what_readers_are_told_change_nothing(depot):
    """Rule 19: comments and layout are no part of a definition, nor are words, owners and ttl."""
    before = depot.state()
    depot.edit(
        f"{FEATURES}.sql", "with load as (", "{# why #}\n-- how\nwith  load\nas ( /* what */"
    )
    depot.edit(f"{FEATURES}.sql", "    depot_code,\n", "    depot_code, ")
    depot.edit(f"{FEATURES}.yml", "What a dock has handled", "How busy a dock was")
    depot.edit(f"{FEATURES}.yml", "ttl: 2d", "ttl: 3d # longer")
    depot.edit("models/features/feat_van__trips.yml", "group: fleet", "group: yard")
    depot.edit("models/features/feat_van__trips.yml", "ignore_nulls: true, ", "")
    depot.edit(
        "models/staging/stg_fleet__trips.sql", "with source as (", "-- source\nwith source as ("
    )

    depot.build_one()

    assert depot.state() == before


def test_the_commit_carries_the_snapshots_identity(depot):
    """Rule 19: the Delta table explains itself, without us and without the registry."""
    (snapshot,) = depot.snapshots("dock__load")

    (commit,) = DeltaTable(snapshot.location).history()
    said = json.loads(commit["featmill.snapshot"])

    assert said["table"] == "dock__load"
    assert said["snapshot_id"] == snapshot.snapshot_id
    assert said["as_of"] == "2026-03-06T00:00:00+00:00"
    assert said["cut_off"] == "2026-03-06T05:00:00+00:00"
    assert (said["rows"], len(said["fingerprint"]), len(said["content_hash"])) == (4, 64, 64)
    (source,) = said["sources"]
    # r4 was ingested at no known moment: it is not read (rule 9).
    assert (source["source"], source["rows"]) == ("yard.scans", len(SCANS) - 1)
    assert source["newest"] == "2026-03-06T05:00:00+00:00"
