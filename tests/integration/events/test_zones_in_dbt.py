"""A source whose times do not say their zone, told by dbt."""

from __future__ import annotations

import pytest

from tests.projects.depot_project import SCANS, fresh_depot

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]


def test_naive_times_are_told_with_source_column_and_rows(tmp_path_factory):
    """Rule 1."""
    depot = fresh_depot(tmp_path_factory)
    depot.edit(
        "models/staging/_sources.yml",
        "config: {event_time: scanned_at}",
        "columns: [{name: scanned_at, data_tests: [featmill.has_zone]}]",
    )

    done = depot.dbt("test", "--select", "source:yard.scans")

    naive = sum(1 for scan in SCANS if scan[5])
    told = done.messages["featmill_source_has_zone_yard_scans_scanned_at"]
    assert told.startswith(f"Got {naive} results")

    zoned = [(*scan[:5], f"{scan[5]}Z" if scan[5] else "", scan[6]) for scan in SCANS]
    depot.write_scans(zoned)

    assert depot.dbt("test", "--select", "source:yard.scans").is_success
