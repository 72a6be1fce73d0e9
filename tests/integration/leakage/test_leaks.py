"""Leaks are found in a project that has three, and none in projects that have none (rules 2, 4, 9, 12)."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest

from featmill.errors import SettingError, UsageError
from featmill.settings import Settings
from orchestration.leakage import find_leaks
from tests.projects.depot_project import fresh_depot
from tests.projects.leaky_project import AT, make_leaky

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]
MOMENT = datetime.fromisoformat(AT).replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """The project with a leak in each of three feature tables."""
    return make_leaky(tmp_path_factory.mktemp("leaky"))


@pytest.fixture(scope="module")
def report(leaky):
    return find_leaks(leaky, MOMENT)


def found(report, model, check):
    return [f for f in report.findings if (f.model, f.check) == (model, check)]


def test_a_join_to_the_current_state_of_a_dimension_is_found(report):
    (read,) = found(report, "feat_bike__districts", "no time")
    (seen,) = found(report, "feat_bike__districts", "altered sources")

    assert (read.file, read.line) == ("models/feat_bike__districts.sql", 14)
    assert "int_current_stations" in read.message
    assert seen.column == "last_district"
    assert "served mode" in seen.message
    assert "bike_id B1" in seen.message


def test_a_window_without_a_right_edge_is_found(report):
    (read,) = found(report, "feat_bike__minutes", "no right edge")
    seen = found(report, "feat_bike__minutes", "altered sources")

    assert (read.column, "stg_rides" in read.message) == ("minutes_1d", True)
    # None: a bike whose first ride came later has a row as well.
    assert {finding.column for finding in seen} == {None, "minutes_1d"}


def test_labels_among_the_features_are_found(report):
    (read,) = found(report, "feat_bike__repairs", "labels")

    assert (read.file, read.line) == ("models/feat_bike__repairs.sql", 6)
    assert "trn_examples trains on it" in read.message


def test_nothing_is_found_where_nothing_leaks(report):
    planted = {"feat_bike__districts", "feat_bike__minutes", "feat_bike__repairs"}

    assert {finding.model for finding in report.findings} == planted
    assert "feat_bike__rides" in report.tables


def test_a_report_says_what_was_looked_at(report):
    assert report.at == MOMENT
    assert len([line for line in report.checked if line.startswith("event mode")]) == 3
    assert len([line for line in report.checked if line.startswith("served mode")]) == 3
    assert "2 of bikes.rides" in report.checked[0]
    # Nothing says when a row of it happened, and a report must not pretend.
    assert report.skipped == ("event mode: bikes.stations cannot tell what came after",)


def test_one_table_can_be_looked_at_alone(leaky):
    report = find_leaks(leaky, MOMENT, ["bike__rides"])

    assert (report.tables, report.findings) == (("feat_bike__rides",), ())


def test_a_table_that_is_not_there_is_named(leaky):
    with pytest.raises(UsageError, match="bike__wheels") as caught:
        find_leaks(leaky, MOMENT, ["bike__wheels"])

    assert "feat_bike__rides" in (caught.value.hint or "")


def test_an_edge_that_is_inclusive_is_found(leaky, tmp_path):
    """Rule 4: an event at exactly the moment is outside."""
    settings = copy_of(leaky, tmp_path)
    path = settings.root / "models" / "feat_bike__minutes.sql"
    text = path.read_text()
    bounded = "started_at <= {{ featmill.as_of() }} and started_at >="
    path.write_text(text.replace("(where started_at >=", f"(where {bounded}"))

    report = find_leaks(settings, datetime(2026, 3, 5, 10, tzinfo=UTC), ["bike__minutes"])

    assert {finding.column for finding in report.findings} == {None, "minutes_1d"}


def test_a_profile_that_leads_to_the_users_database_is_refused(leaky, tmp_path):
    settings = copy_of(leaky, tmp_path)
    profile = settings.root / "profiles.yml"
    text = profile.read_text()
    path = "{{ env_var('FEATMILL_HOME', '.featmill') }}/build.duckdb"
    assert path in text
    profile.write_text(text.replace(path, str(tmp_path / "mine.duckdb")))

    with pytest.raises(SettingError, match=r"mine\.duckdb"):
        find_leaks(settings, MOMENT)

    assert not (tmp_path / "mine.duckdb").exists()


def test_the_outer_project_has_no_leak_and_stays_as_it_is(tmp_path_factory):
    """Sources as CSV and as Delta, features with hops and delays, an entity model from a seed."""
    depot = fresh_depot(tmp_path_factory)
    before = contents(depot.root.parent)

    report = find_leaks(depot.settings)

    assert report.findings == ()
    assert report.skipped == ()
    assert contents(depot.root.parent) == before


@pytest.mark.slow
def test_our_demo_has_no_leak(repository):
    report = find_leaks(Settings(project_dir=repository, sources="seeds/sample"))

    assert report.findings == ()
    assert len(report.tables) >= 5
    assert any("of shop.products" in line for line in report.checked)


def copy_of(settings, folder):
    root = folder / "copy"
    shutil.copytree(settings.root, root, symlinks=True)
    return Settings(project_dir=root, home=folder / "home", sources=settings.sources)


def contents(folder):
    """Every file with its bytes' time and size."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}
