"""How snapshots are stored, and what happens to a table's schema: through dbt (rules 9, 11, 22)."""

from __future__ import annotations

import duckdb
import pytest

from featmill.warehouse.identity import content_hash
from featmill.warehouse.lake import relation_sql
from tests.projects.depot_project import SCANS, TRIPS

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

DOCKS, VANS = "models/features/feat_dock__load.yml", "models/features/feat_van__trips.yml"


def contents(depot, table):
    """The rows of each snapshot as they read now: id -> count and hash of all of their columns."""
    found = {}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for snapshot in depot.snapshots(table):
            relation = f"({relation_sql([snapshot])})"
            described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
            columns = [str(row[0]) for row in described]
            found[snapshot.snapshot_id] = content_hash(connection, columns, relation)
    return found


def types(snapshot):
    """The columns of a snapshot with their types."""
    with duckdb.connect() as connection:
        described = connection.execute(f"DESCRIBE {relation_sql([snapshot])}").fetchall()
    return {row[0]: row[1] for row in described}


def test_a_snapshot_reads_the_same_after_whatever_is_built_later(depot):
    """Rule 22: later days, corrections, a chain of changes and a column that is added."""
    depot.edit(DOCKS, "online: true", "online: true\n          storage: changes")
    before = contents(depot, "dock__load")
    depot.build_one("2026-03-07")
    depot.build_one("2026-03-08")
    chained = contents(depot, "dock__load")
    depot.write_scans(
        [*SCANS, ("s99", "N", 1, "box", "1", "2026-03-06 12:00:00", "2026-03-06 12:00:00")]
    )
    depot.build_one("2026-03-07")
    depot.edit(
        DOCKS,
        "      - name: last_kind_lifetime",
        "      - name: parcels_48h\n        description: Parcels.\n        data_type: bigint\n"
        "        config: {meta: {feature: {aggregate: count, window: 48h, default: 0}}}\n"
        "      - name: last_kind_lifetime",
    )
    depot.edit(
        "models/features/feat_dock__load.sql",
        "    parcels_24h,",
        "    parcels_24h,\n    parcels_48h,",
    )
    depot.build_one("2026-03-09")
    after = contents(depot, "dock__load")

    assert {key: after[key] for key in chained} == chained
    assert {key: after[key] for key in before} == before
    made = {s.as_of.day: s for s in depot.snapshots("dock__load")}
    assert [made[day].change is not None for day in (6, 7, 8, 9)] == [False, True, True, False]
    assert made[7].change.base in chained
    assert len(after) == 5


def test_a_new_version_publishes_beside_the_old_one_and_readers_switch_at_its_release(depot):
    """A type that changes is another version: another Delta table, read as soon as it is released, never mixed."""
    (old,) = depot.registry.released_snapshots("van__trips")
    depot.edit(
        VANS,
        "    data_tests:",
        "    latest_version: 2\n    versions:\n      - v: 1\n        defined_in: feat_van__trips\n"
        "      - v: 2\n        columns:\n          - include: all\n            exclude: [trips_1d]\n"
        "          - name: trips_1d\n            description: Trips ended.\n            data_type: bigint\n"
        "            config: {meta: {feature: {aggregate: count, window: 1d, default: 0}}}\n"
        "    data_tests:",
    )
    body = (depot.root / "models/features/feat_van__trips.sql").read_text(encoding="utf-8")
    depot.add("models/features/feat_van__trips_v2.sql", body)

    depot.build_one("2026-03-07")

    (new,) = depot.registry.released_snapshots("van__trips")
    assert (old.location[-3:], new.location[-3:]) == ("/v1", "/v2")
    kinds = {s.as_of.day: types(s)["trips_1d"] for s in depot.snapshots("van__trips")}
    assert kinds == {6: "INTEGER", 7: "BIGINT"}
    first, _ = depot.releases
    assert depot.registry.released_snapshots("van__trips", release=first.release_id) == [old]
    with duckdb.connect(str(depot.home / "features.duckdb"), read_only=True) as connection:
        shown = connection.execute("SELECT DISTINCT snapshot_id FROM van__trips").fetchall()
    assert shown == [(new.snapshot_id,)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "decimal(10, 2)",
            "decimal(12, 3)",
            "column fuel_litres_1d is published as decimal128(10, 2)",
        ),
        ("name: fuel_litres_1d", "name: litres_1d", "column fuel_litres_1d is published as"),
    ],
)
def test_a_live_column_is_neither_retyped_nor_renamed(depot, old, new, said):
    """A rename is a column gone and another one added: the message names what was there and what is."""
    before = depot.state()
    depot.edit(VANS, old, new)
    if "name" in old:
        depot.edit("models/features/feat_van__trips.sql", "    fuel_litres_1d,", "    litres_1d,")
        depot.edit("tests/no_van_drives_on_air.sql", "fuel_litres_1d", "litres_1d")

    (outcome,) = depot.build("2026-03-07")

    assert said in str(outcome.failures)
    assert depot.state()["snapshots"]["van__trips"] == before["snapshots"]["van__trips"]
    assert depot.releases == before["releases"]


def test_a_van_that_its_source_withdraws_is_a_tombstone_and_leaves_the_features(depot):
    """Rule 11: deleted in the source, gone from the next snapshot on, still in those before."""
    depot.edit(VANS, "online: true", "online: true, storage: changes")
    depot.write_trips([trip for trip in TRIPS if trip[1] != "AB-2"])
    depot.build_one("2026-03-07")

    first, second = depot.snapshots("van__trips")

    assert (second.vanished.since, second.vanished.entities) == (first.snapshot_id, 1)
    with duckdb.connect() as connection:
        vans = [
            connection.execute(f"SELECT van_plate FROM ({relation_sql([s])}) ORDER BY 1").fetchall()
            for s in (first, second)
        ]
    assert vans == [[("AB-1",), ("AB-2",)], [("AB-1",)]]
