"""featmill.windows_at in a model of the user's: the declaration is found, and the values are the feature table's."""

from __future__ import annotations

import pytest

from featmill.errors import BuildError
from orchestration import tasks

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt")]

MODEL = "models/training/trn_loads.sql"
CALL = """
    {{{{ featmill.windows_at(
        spine=ref('delays'), time='left_at', table=ref('{table}'), events=ref('stg_yard__scans'),
        features={features}, event_at='scanned_at', event_id='scan_id', status=true,
    ) }}}}
"""
WINDOWS = (
    "parcels_24h",
    "weight_kg_24h",
    "weight_kg_mean_3d",
    "weight_kg_max_3d",
    "kinds_3d",
    "heavy_parcels_3d",
    "last_kind_lifetime",
)


def test_the_windows_at_a_row_are_what_a_build_at_its_time_publishes(depot):
    """Rules 4, 15 and 20: composite keys, a delay, a hop, where, defaults and duplicates of the spine."""
    depot.add(MODEL, CALL.format(table="dock__load", features="none"))
    for day in ("2026-03-05", "2026-03-06"):
        depot.build_one(day)
    columns = ", ".join(f"dock__load__{name}" for name in WINDOWS)

    rows = depot.candidate(
        "trn_loads", "departure_id, depot_code, dock_no, left_at::VARCHAR, dock__load__status"
    )
    windows = depot.candidate("trn_loads", f"left_at::VARCHAR, depot_code, dock_no, {columns}")
    built = depot.read(
        f"SELECT {', '.join(WINDOWS)} FROM dock__load "
        "WHERE valid_at = '2026-03-05' AND (depot_code, dock_no) = ('N', 11)"
    )

    assert sorted(row[0] for row in rows) == [1, 3, 3, 4, 7, 9]
    at_midnight = [row[3:] for row in windows if row[:3] == ("2026-03-05 00:00:00", "N", 11)]
    assert at_midnight == built * 2
    assert any(value for value in built[0])


@pytest.mark.parametrize(
    ("table", "features", "told"),
    [
        ("stg_yard__scans", "none", "windows_at takes the windows of a published table"),
        (
            "dock__load",
            "['parcels_7d']",
            "dock__load declares no window parcels_7d; it declares: parcels_24h",
        ),
    ],
)
def test_what_has_no_windows_is_refused(depot, table, features, told):
    depot.add(MODEL, CALL.format(table=table, features=features))

    with depot.environment(), pytest.raises(BuildError, match=told):
        tasks.build(depot.settings)
