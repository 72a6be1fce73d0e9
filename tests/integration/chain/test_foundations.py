"""A snapshot stands on what its own build read, built and tested: nothing older, nothing else (rules 9, 19, 20)."""

from __future__ import annotations

import duckdb
import pytest

from tests.projects.depot_project import SCANS

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt")]

NEW_SCAN = ("s99", "N", 1, "box", "1.25", "2026-03-05 20:00:00", "2026-03-05 20:00:00")
FEATURES_ONLY = ("build", "-s", "feat_dock__load+", "feat_van__trips+")
SHARE = "at_most: 0.6"


def test_rows_from_a_staging_table_older_than_its_source_are_not_published(depot):
    """They would carry the new source's digest, and a later full build would find nothing to do."""
    depot.write_scans([*SCANS, NEW_SCAN])
    before = depot.state()

    done = depot.dbt(*FEATURES_ONLY)

    assert "stg_yard__scans is not part of this build" in done.messages["dock__load"]
    assert depot.state() == before
    assert depot.build_one().said[-1].startswith("released ")


def test_a_failed_gate_of_a_parent_cannot_be_passed_by_naming_the_features(depot):
    """Rule 10: too much was refused, and nobody may say that they need not know."""
    depot.write_scans([*SCANS, NEW_SCAN])
    depot.edit("models/staging/stg_yard__typed_scans.yml", SHARE, "at_most: 0.01")
    before = depot.state()

    gated = depot.dbt("build")
    named = depot.dbt(*FEATURES_ONLY)

    assert "dock__load" in gated.skipped
    assert named.statuses["dock__load"] == "error"
    assert depot.state()["releases"] == before["releases"]


def test_a_source_that_changes_while_the_build_runs_is_noticed(depot):
    """Staging has read the rows from before; the digest would be of the rows after."""
    depot.write_scans([*SCANS, NEW_SCAN])
    depot.edit(
        "models/staging/stg_yard__scans.sql",
        "select * from deduplicated",
        "select * from deduplicated\n{% if execute %}{% do run_query(\"copy (select 's98' as scan_id) to '\" "
        "~ env_var('FEATMILL_SOURCES') ~ \"/scans.csv' (header)\") %}{% endif %}",
    )
    before = depot.snapshots("dock__load")

    done = depot.dbt("build")

    assert "changed while the build ran" in done.messages["dock__load"]
    assert depot.snapshots("dock__load") == before


def test_a_publish_node_holds_nothing_but_its_line(depot):
    """What is added there was never tested."""
    depot.write_scans([*SCANS, NEW_SCAN])
    depot.edit(
        "models/published/van__trips.sql",
        "{{ featmill.publish(ref('feat_van__trips')) }}",
        "{{ featmill.publish(ref('feat_van__trips')) }} union all select * from {{ ref('feat_van__trips') }}",
    )
    before = depot.snapshots("van__trips")

    done = depot.dbt("build")

    assert "holds more than its one line" in done.messages["van__trips"]
    assert depot.snapshots("van__trips") == before


def test_a_publish_node_that_waits_for_another_table_publishes_its_own(depot):
    """The hint for a test over two tables is to wait for the other: it must not become what is published."""
    line = "{{ featmill.publish(ref('feat_van__trips')) }}"
    depot.edit(
        "models/published/van__trips.sql",
        line,
        "-- depends_on: {{ ref('feat_dock__load') }}\n" + line,
    )

    outcome = depot.build_one()

    assert any(said.startswith("van__trips unchanged") for said in outcome.said)


def test_a_snapshot_of_a_failed_run_stays_out_of_the_next_release(depot):
    """It lies in the lake, but the run that made it found something wrong."""
    depot.write_scans([*SCANS, NEW_SCAN])
    depot.add("tests/late.sql", "select 1 from {{ ref('dock__load') }}")
    failed = depot.dbt("build")
    alone = depot.dbt("build", "-s", "+van__trips", "--exclude", "late")

    untrusted = depot.snapshots("dock__load")[-1].snapshot_id
    assert failed.statuses["late"] == "fail"
    assert "no release: late failed" in failed.log
    assert alone.is_success
    assert depot.registry.newest().snapshots["dock__load"] != untrusted


def test_training_models_do_not_see_what_was_not_released(depot):
    """The published view shows what was released before, once the run has failed."""
    depot.write_scans([*SCANS, NEW_SCAN])
    depot.add("tests/late.sql", "select 1 from {{ ref('dock__load') }}")
    depot.dbt("build")

    with duckdb.connect(str(depot.home / "build.duckdb"), read_only=True) as connection:
        shown = connection.execute("select distinct snapshot_id from main.dock__load").fetchall()

    assert {row[0] for row in shown} == {depot.registry.newest().snapshots["dock__load"]}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("- featmill.feature_table", "- featmill.feature_table: {config: {severity: warn}}"),
        ("- featmill.feature_table", "- featmill.feature_table: {config: {where: 'false'}}"),
    ],
)
def test_a_gate_that_was_weakened_is_no_gate(depot, old, new):
    """A warning stops nothing, and a test over no rows finds nothing."""
    depot.write_scans([*SCANS, NEW_SCAN])
    depot.edit("models/features/feat_dock__load.yml", old, new)
    before = depot.snapshots("dock__load")

    done = depot.dbt("build")

    assert "no data test featmill.feature_table of severity error" in done.messages["dock__load"]
    assert depot.snapshots("dock__load") == before


def test_an_as_of_after_the_data_is_refused(depot):
    """A snapshot of the far future would stay the newest for good."""
    done = depot.dbt("build", FEATMILL_AS_OF="2062-03-06")

    assert "is after the data" in done.error
    assert len(depot.releases) == 1
