"""Retention and erasure on what dbt published, by the command line (rules 9 and 22)."""

from __future__ import annotations

import json

import duckdb
import pytest
from typer.testing import CliRunner

from featmill.cli.main import app
from featmill.errors import BuildLocked, UsageError
from featmill.warehouse.iceberg import IcebergMirror, identifier_of
from tests.projects.depot_project import Depot

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]


def command(depot: Depot, *arguments: str):
    with depot.environment():
        return CliRunner().invoke(
            app, [*arguments, "--project-dir", str(depot.root)], catch_exceptions=True
        )


@pytest.fixture
def built(depot) -> Depot:
    """Three as_ofs: March 4, 5 and 6."""
    depot.edit(
        "models/features/feat_van__trips.yml",
        "online: true}",
        "online: true, formats: [delta, iceberg], keep_events: true}",
    )
    depot.build("2026-03-04", "2026-03-05", "2026-03-06")
    return depot


def vans(depot: Depot) -> list[str]:
    return [row[0] for row in depot.read("SELECT DISTINCT van_plate FROM van__trips ORDER BY 1")]


def test_old_snapshots_expire_and_readers_see_the_others(built):
    shown = command(built, "expire", "--older-than", "1d", "--keep-last", "1", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "would go" in shown.output
    assert len(built.snapshots("dock__load")) == 3

    done = command(built, "expire", "--older-than", "1d", "--keep-last", "1")

    assert done.exit_code == 0, done.output
    assert "expired" in done.output
    days = sorted(s.as_of.day for s in built.snapshots("dock__load"))
    assert days == [5, 6]
    assert built.read("SELECT count(DISTINCT valid_at) FROM dock__load") == [(2,)]
    mirror = IcebergMirror(built.settings.lake_dir)
    kept = {s.snapshot_id for s in built.snapshots("van__trips")}
    assert set(mirror.snapshots(identifier_of("van__trips"))) <= kept


def test_an_expired_as_of_is_a_gap_that_a_build_fills_with_the_same_rows(built):
    before = {s.as_of: s.content_hash for s in built.snapshots("dock__load")}
    command(built, "expire", "--older-than", "1d", "--keep-last", "1")

    built.build_one("2026-03-04")

    assert {s.as_of: s.content_hash for s in built.snapshots("dock__load")} == before


def test_an_expired_as_of_is_no_gap_of_a_backfill(built):
    command(built, "expire", "--older-than", "1d", "--keep-last", "1")
    days = ["--from", "2026-03-04", "--to", "2026-03-06"]

    shown = command(built, "intervals", *days, "--json")
    filled = command(built, "backfill", *days)

    states = [(i["as_of"][8:10], i["state"]) for i in json.loads(shown.output)]
    assert states == [("04", "expired"), ("05", "complete"), ("06", "complete")] * 2
    assert "3 dates asked for, 2 complete, 1 expired, 0 to build" in filled.output
    assert "nothing to build" in filled.output
    assert len(built.snapshots("dock__load")) == 2

    forced = command(built, "backfill", "--from", "2026-03-04", "--to", "2026-03-04", "--force")

    assert forced.exit_code == 0, forced.output
    assert len(built.snapshots("dock__load")) == 3


def test_a_date_with_another_gap_is_built_with_what_expired_there(built):
    """A release holds every table."""
    command(built, "expire", "--older-than", "1d", "--keep-last", "1")
    built.add(
        "models/published/van__trips_again.sql", "{{ featmill.publish(ref('feat_van__trips')) }}"
    )

    filled = command(built, "backfill", "--from", "2026-03-04", "--to", "2026-03-04")

    assert filled.exit_code == 0, filled.output
    assert sorted(s.as_of.day for s in built.snapshots("dock__load")) == [4, 5, 6]


def test_an_erased_entity_is_nowhere_in_the_lake(built):
    """Rule 9: every snapshot, every event, the mirror; and the others keep what they had."""
    assert vans(built) == ["AB-1", "AB-2"]

    done = command(built, "erase", "--key", "van_plate=AB-2", "--yes")

    assert done.exit_code == 0, done.output
    assert vans(built) == ["AB-1"]
    held = [
        str(p) for p in built.settings.lake_dir.rglob("*.parquet") if "_registry" not in p.parts
    ]
    with duckdb.connect() as connection:
        for path in held:
            found = connection.execute(
                "SELECT count(*) FROM read_parquet(?) t WHERE t::VARCHAR LIKE '%AB-2%'", [path]
            ).fetchall()
            assert found == [(0,)], path
    shown = command(built, "snapshots", "--table", "van__trips")
    assert "1 erased" in shown.output


def test_a_build_of_what_was_built_brings_nothing_back_and_a_later_as_of_does(built):
    """The same as_of with the same sources changes nothing (rule 19); the sources themselves are not featmill's."""
    command(built, "erase", "--key", "van_plate=AB-2", "--yes")

    built.build_one("2026-03-05")
    assert vans(built) == ["AB-1"]

    built.build_one("2026-03-07")
    assert vans(built) == ["AB-1", "AB-2"]


def test_blanked_features_are_null_and_the_row_stays(built):
    done = command(built, "erase", "--key", "van_plate=AB-1", "--blank", "fuel_litres_1d", "--yes")

    assert done.exit_code == 0, done.output
    sql = "SELECT DISTINCT fuel_litres_1d FROM van__trips WHERE van_plate = 'AB-1'"
    assert built.read(sql) == [(None,)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key", "colour=red"], "no published table has the key colour"),
        (["--key", "van_plate"], "is not column=value"),
        (["--key", "dock_no=eleven", "--key", "depot_code=N"], "the keys are"),
        (["--key", "van_plate=AB-1", "--blank", "nothing"], "no feature nothing in van__trips"),
    ],
    ids=["an unknown key", "no value", "another type", "an unknown feature"],
)
def test_a_wrong_erasure_is_refused(built, arguments, message):
    before = built.state()

    done = command(built, "erase", *arguments, "--yes")

    assert isinstance(done.exception, UsageError)
    assert message in done.exception.message
    assert built.state() == before


def test_nothing_is_removed_while_a_build_runs(built, tmp_path):
    import subprocess
    import sys

    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()",
            str(built.settings.build_database),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        done = command(built, "expire", "--older-than", "1d", "--keep-last", "1")
    finally:
        holder.communicate()

    assert isinstance(done.exception, BuildLocked)
    assert len(built.snapshots("dock__load")) == 3
