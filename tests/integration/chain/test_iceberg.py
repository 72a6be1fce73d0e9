"""A table that declares `formats: [delta, iceberg]` is mirrored as it is released (rules 9, 19 and 22)."""

from __future__ import annotations

import shutil

import duckdb
import pytest
from typer.testing import CliRunner

from featmill.cli.main import app
from featmill.errors import LakeError
from featmill.warehouse.iceberg import IcebergMirror, identifier_of
from featmill.warehouse.lake import relation_sql
from tests.projects.depot_project import TRIPS

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

NAME = identifier_of("van__trips")
DECLARATION = "models/features/feat_van__trips.yml"
COLUMNS = "van_plate, feature_at, trips_1d, fuel_litres_1d, published_at, snapshot_id"


@pytest.fixture
def mirrored(depot):
    depot.edit(DECLARATION, "online: true}", "online: true, formats: [delta, iceberg]}")
    return depot


def mirror_of(depot) -> IcebergMirror:
    return IcebergMirror(depot.settings.lake_dir)


def rows(sql: str) -> list[tuple]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"SELECT {COLUMNS} FROM ({sql}) ORDER BY ALL").fetchall()


def test_each_released_snapshot_and_correction_is_one_commit_with_the_same_rows(mirrored):
    mirrored.build_one("2026-03-05")
    mirrored.write_trips(
        [*TRIPS, (6, "AB-2", "9.00", "2026-03-04 12:00:00", "2026-03-06 00:00:00")]
    )
    mirrored.build_one("2026-03-05")

    snapshots = mirrored.snapshots("van__trips")
    mirror = mirror_of(mirrored)
    assert len(snapshots) == 3
    assert list(mirror.snapshots(NAME)) == [s.snapshot_id for s in snapshots]
    for snapshot in snapshots:
        assert rows(mirror.relation_sql(NAME, [snapshot.snapshot_id])) == rows(
            relation_sql([snapshot])
        )
    assert mirror.identifiers() == [NAME]


def test_a_snapshot_that_was_not_released_is_not_mirrored(mirrored):
    mirrored.dbt("build", "-s", "+van__trips", FEATMILL_AS_OF="2026-03-05")

    assert len(mirrored.snapshots("van__trips")) == 2
    with pytest.raises(LakeError, match="there is no Iceberg table"):
        mirror_of(mirrored).table(NAME)


def test_the_command_mirrors_what_was_released_before_the_table_declared_it(mirrored):
    settings = mirrored.settings
    with mirrored.environment():
        done = CliRunner().invoke(app, ["iceberg", "--project-dir", str(settings.root)])

    assert done.exit_code == 0, done.output
    assert NAME in done.output
    assert list(mirror_of(mirrored).snapshots(NAME)) == [
        s.snapshot_id for s in mirrored.snapshots("van__trips")
    ]


def test_a_mirror_that_cannot_be_written_holds_no_release_back_and_is_said(mirrored):
    """Delta is the truth; the mirror catches up."""
    blocked = mirrored.settings.lake_dir / "_iceberg"
    blocked.write_text("in the way")

    outcome = mirrored.dbt("build", FEATMILL_AS_OF="2026-03-05")

    assert not outcome.is_success
    assert "_iceberg" in outcome.log
    assert len(mirrored.releases) == 2
    blocked.unlink()
    mirrored.build_one("2026-03-05")
    assert len(mirror_of(mirrored).snapshots(NAME)) == 2


def test_a_format_without_delta_is_refused(depot):
    depot.edit(DECLARATION, "online: true}", "online: true, formats: [iceberg]}")
    shutil.rmtree(depot.root / "target", ignore_errors=True)
    with depot.environment():
        done = CliRunner().invoke(app, ["check", "--project-dir", str(depot.root)])

    assert done.exit_code != 0
