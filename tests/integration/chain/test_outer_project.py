"""Another dbt project takes this repository as a package and gets the macros, and nothing of the demo."""

from __future__ import annotations

import json
import os

import pytest

from tests.projects.depot_project import REPOSITORY, TABLES

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt")]

#: Every node of depot, by dbt's resource type.
NODES = {
    "exposure": {"delay_model"},
    "model": {
        "dock__load",
        "feat_dock__load",
        "feat_van__trips",
        "int_docks",
        "stg_fleet__trips",
        "stg_yard__quarantine",
        "stg_yard__scans",
        "stg_yard__typed_scans",
        "trn_delays",
        "van__trips",
    },
    "seed": {"delays", "docks"},
    "source": {"scans", "trips"},
    "unit_test": {"a_dock_without_scans_has_a_row"},
}
TESTS = 4


def test_dbt_ls_shows_only_the_projects_own_nodes(depot):
    listed = depot.run(
        "ls", "--quiet", "--output", "json", "--output-keys", "name resource_type package_name"
    )

    assert listed.returncode == 0, listed.stdout + listed.stderr
    nodes = [json.loads(line) for line in listed.stdout.splitlines()]
    found: dict[str, set[str]] = {}
    for node in nodes:
        found.setdefault(node["resource_type"], set()).add(node["name"])
    assert {node["package_name"] for node in nodes} == {"depot"}
    assert len(found.pop("test")) == TESTS
    assert found == NODES


def test_the_manifest_holds_nothing_of_the_demo_but_macros_and_groups(depot):
    manifest = json.loads((depot.root / "target" / "manifest.json").read_text())

    kinds = ("nodes", "sources", "exposures", "unit_tests", "metrics", "semantic_models")
    entries = [entry for kind in kinds for entry in manifest[kind].values()]
    owners = {e["package_name"] for e in entries if e["resource_type"] != "operation"}

    assert owners == {"depot"}
    assert "macro.featmill.windows" in manifest["macros"]


def test_the_package_is_a_link_not_a_copy(depot):
    assert (depot.root / "dbt_packages" / "featmill").resolve() == REPOSITORY


def test_the_project_as_committed_points_at_this_repository():
    project = REPOSITORY / "tests" / "projects" / "depot"
    local = (project / "packages.yml").read_text().split("local:")[1].strip()

    assert (project / local).resolve() == REPOSITORY


def test_a_plain_dbt_build_publishes_and_releases(depot):
    """The chain needs nothing of ours but the profile: dbt's own command line, in a process of its own."""
    depot.write_scans()

    built = depot.run("build", FEATMILL_AS_OF="2026-03-05")

    assert built.returncode == 0, built.stdout
    assert "featmill: released 20260305T000000Z-" in built.stdout
    assert set(depot.releases[0].snapshots) == set(TABLES)


def test_the_sessions_time_zone_changes_no_value(depot):
    """Rule 1: moments are UTC. The trips are TIMESTAMPTZ, whose cast asks the session's zone."""
    labels = "departure_id, left_at, van__trips__trips_1d, van__trips__feature_at::varchar"
    here = {table: depot.snapshots(table)[-1].content_hash for table in TABLES}
    found = depot.candidate("trn_delays", labels)
    depot.edit("profiles.yml", "threads: 2", "threads: 2\n      settings: {TimeZone: Asia/Tokyo}")
    depot.edit("models/features/feat_van__trips.sql", "from trips", "from trips where true")
    depot.edit("models/features/feat_dock__load.sql", "from load", "from load where true")

    depot.build_one()

    for table, content in here.items():
        first, again = depot.snapshots(table)
        assert first.fingerprint != again.fingerprint
        assert again.content_hash == content
    assert depot.candidate("trn_delays", labels) == found


def test_a_profile_without_the_plugin_is_told_what_to_add(depot):
    depot.edit("profiles.yml", "plugins:", "settings: {TimeZone: UTC}\n      unused_plugins:")
    before = depot.state()

    built = depot.dbt("build")

    assert not built.is_success
    said = built.error + "".join(built.messages.values())
    assert "the profile 'depot' (target 'test') does not load featmill's plug-in" in said
    assert "- module: featmill.warehouse.plugin" in said
    assert depot.state() == before


def test_documentation_can_be_generated(depot):
    done = depot.dbt("docs", "generate")

    assert done.is_success, done.error or done.log
    assert os.path.exists(depot.root / "target" / "catalog.json")  # noqa: PTH110
