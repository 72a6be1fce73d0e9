"""featmill.windows_at in a model of the user's: the declaration is found, and the values are the feature table's."""

from __future__ import annotations

import shutil

import pytest

from featmill.errors import BuildError
from orchestration import tasks

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

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


def retype(depot, old: str, new: str) -> None:
    """Another type of a seed's column, in a new database: an old one keeps the table's types."""
    depot.edit("seeds/_seeds.yml", old, new)
    shutil.rmtree(depot.home)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "dock_no: integer, van_plate",
            "dock_no: varchar, van_plate",
            "the key dock_no of the spine is VARCHAR, the contract says INTEGER",
        ),
        (
            "depot_code: varchar, dock_no: integer, van_plate: varchar",
            "depot_code: varchar, dock_no: bigint, van_plate: varchar",
            None,
        ),
    ],
)
def test_a_key_of_another_kind_stops_the_query(depot, old, new, told):
    """Rule 16, naming both types; of one family nothing is converted."""
    depot.add(MODEL, CALL.format(table="dock__load", features="none"))
    (depot.root / "models/training/trn_delays.sql").unlink()
    retype(depot, old, new)

    (outcome,) = depot.build("2026-03-06")

    messages = {r.name: r.message for r in outcome.results if r.name == "trn_loads"}
    if told is None:
        assert not outcome.failures
    else:
        assert told in messages["trn_loads"]


def test_a_lookup_of_a_key_of_another_kind_stops_the_query(depot):
    """Rule 16: '07' is no 7, and DuckDB would convert it."""
    retype(depot, "van_plate: varchar, left_at", "van_plate: integer, left_at")
    seed = depot.root / "seeds/delays.csv"
    text = seed.read_text()
    seed.write_text(text.replace("AB-1", "7").replace("AB-2", "8").replace("ZZ-9", "9"))

    (outcome,) = depot.build("2026-03-06")

    (said,) = [r.message for r in outcome.results if r.name == "trn_delays"]
    assert "the key van_plate of the spine is INTEGER, the contract says VARCHAR" in said


def test_events_with_a_key_of_another_kind_stop_the_query(depot):
    """Rule 16, of the other side of the join."""
    call = CALL.replace("ref('stg_yard__scans')", "ref('stg_texts')")
    depot.add(MODEL, call.format(table="dock__load", features="none"))
    depot.add(
        "models/training/stg_texts.sql",
        "select * replace ('0' || dock_no as dock_no) from {{ ref('stg_yard__scans') }}",
    )

    (outcome,) = depot.build("2026-03-06")

    (said,) = [r.message for r in outcome.results if r.name == "trn_loads"]
    assert "the key dock_no of the events is VARCHAR, the contract says INTEGER" in said
