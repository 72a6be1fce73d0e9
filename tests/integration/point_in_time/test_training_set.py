"""A training set from a spine file and released snapshots, end to end (rules 1, 12 to 16)."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featmill import clock
from featmill.contract.catalog import FeatureRef
from featmill.contract.manifest import load
from featmill.errors import FeatmillError, NoRelease, SpineError, UsageError
from featmill.training.training_set import TrainingRequest, build_training_set
from tests.projects.depot_project import SCANS, fresh_depot, make_depot

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

LOAD = tuple(
    FeatureRef(view="dock__load", feature=name)
    for name in (
        "parcels_24h",
        "weight_kg_24h",
        "weight_kg_mean_3d",
        "weight_kg_max_3d",
        "kinds_3d",
        "heavy_parcels_3d",
        "last_kind_lifetime",
    )
)
TRIPS = tuple(
    FeatureRef(view="van__trips", feature=name) for name in ("last_fuel_litres_1d", "trips_1d")
)
HEADER = "departure_id,depot_code,dock_no,van_plate,left_at,is_late\n"


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Three releases and a correction; no test changes it."""
    depot = make_depot(tmp_path_factory.mktemp("history"))
    depot.build("2026-03-04", "2026-03-05")
    depot.write_scans(
        [*SCANS, ("s99", "N", 1, "box", "1.25", "2026-03-03 20:00:00", "2026-03-05 20:00:00")]
    )
    depot.build("2026-03-06", "2026-03-04")
    assert len(depot.snapshots("dock__load")) == 4
    return depot


@pytest.fixture(scope="module")
def train(history):
    """`train(spine, out, ...)`: build a training set of the depot's catalogue."""
    catalog = load(history.settings.manifest)

    def build(spine, out, features=LOAD + TRIPS, **more):
        request = TrainingRequest(spine, more.pop("time", "left_at"), features, out, **more)
        return build_training_set(catalog, history.registry, request)

    return build


@pytest.fixture
def spine(history, tmp_path):
    """The depot's own labels, as a CSV file."""
    path = tmp_path / "labels.csv"
    path.write_text((history.root / "seeds" / "delays.csv").read_text())
    return path


def rows(path, columns="*"):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"SELECT {columns} FROM read_parquet('{path}')").fetchall()


def test_the_rows_and_columns_of_the_spine_come_first_and_in_order(train, spine, tmp_path):
    """Rule 15: duplicates and unmatched rows kept, nothing sorted, nothing added."""
    made = train(spine, tmp_path / "set.parquet", zone="UTC")

    assert made.rows == 6
    assert made.columns[:6] == tuple(HEADER.strip().split(","))
    assert made.columns[6:] == tuple(f"{ref.view}__{ref.feature}" for ref in LOAD + TRIPS)
    labels = rows(made.path, "departure_id, depot_code, dock_no, van_plate, is_late")
    assert labels == [
        (7, "N", 1, "AB-1", True),
        (3, "N", 11, "AB-2", False),
        (3, "N", 11, "AB-2", False),
        (9, "N1", 1, "AB-1", True),
        (1, "S", 7, "ZZ-9", False),
        (4, "N", 1, "AB-1", True),
    ]


def test_each_row_finds_what_was_valid_at_its_moment(train, spine, tmp_path):
    """Rules 12, 13 and 15: the correction of March 4, ttl, defaults and statuses."""
    made = train(spine, tmp_path / "set.parquet", zone="UTC", status=True, source_times=True)

    found = rows(
        made.path,
        "dock__load__valid_at::date::varchar, dock__load__status, dock__load__parcels_24h, "
        "dock__load__last_kind_lifetime, van__trips__status, van__trips__trips_1d, van__trips__last_fuel_litres_1d",
    )
    assert found == [
        ("2026-03-05", "ok", 1, "box", "ok", 1, None),
        # Rule 14: AB-2's window of March 5 is empty, so the value of March 4 is carried.
        ("2026-03-05", "ok", 1, "bag", "ok", 0, Decimal("3.00")),
        ("2026-03-05", "ok", 1, "bag", "ok", 0, Decimal("3.00")),
        ("2026-03-04", "ok", 1, "tub", "ok", 0, None),
        ("2026-03-06", "ok", 0, "none", "missing", 0, None),
        (None, "missing", 0, "none", "missing", 0, None),
    ]


def test_parquet_and_csv_spines_give_the_same_rows(train, spine, tmp_path):
    """A TIMESTAMPTZ column needs no zone and may be in any (rule 1)."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        connection.execute(
            f"COPY (SELECT * REPLACE (timezone('UTC', left_at) AS left_at) FROM read_csv('{spine}')) "
            f"TO '{tmp_path / 'labels.parquet'}'"
        )
    csv = train(spine, tmp_path / "a.parquet", zone="UTC")
    parquet = train(tmp_path / "labels.parquet", tmp_path / "b.parquet")

    assert rows(parquet.path, "* EXCLUDE (left_at)") == rows(csv.path, "* EXCLUDE (left_at)")
    assert rows(parquet.path, "timezone('UTC', left_at)") == rows(csv.path, "left_at")


def test_a_zone_shifts_the_moments_and_leaves_the_column(train, tmp_path):
    """Rule 1: 01:30 in Tokyo is the day before in UTC, when the row of March 5 was not there yet."""
    spine = tmp_path / "labels.csv"
    spine.write_text(HEADER + "1,N,1,AB-1,2026-03-05 01:30:00,true\n")

    utc, tokyo = (
        rows(
            train(spine, tmp_path / "set.parquet", zone=zone, status=True, source_times=True).path,
            columns,
        )
        for zone in ("UTC", "Asia/Tokyo")
        for columns in ["left_at::varchar, dock__load__valid_at::date::varchar"]
    )

    assert utc == [("2026-03-05 01:30:00", "2026-03-05")]
    assert tokyo == [("2026-03-05 01:30:00", "2026-03-04")]


def test_the_dbt_macro_and_the_library_give_the_same_rows(depot, tmp_path):
    """One text decides a training set, whoever asks for it."""
    depot.build("2026-03-04", "2026-03-05", "2026-03-06")
    spine = depot.root / "seeds" / "delays.csv"
    request = TrainingRequest(
        spine, "left_at", LOAD + TRIPS, tmp_path / "set.parquet", "UTC", True, source_times=True
    )

    made = build_training_set(load(depot.settings.manifest), depot.registry, request)

    with duckdb.connect(str(depot.settings.build_database), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        columns = ", ".join(f'"{name}"' for name in made.columns)
        from_dbt = connection.execute(f"SELECT {columns} FROM trn_delays ORDER BY ALL").fetchall()
        ours = f"SELECT {columns} FROM read_parquet('{made.path}') ORDER BY ALL"
        assert connection.execute(ours).fetchall() == from_dbt
        names = {row[0] for row in connection.execute("DESCRIBE trn_delays").fetchall()}
    assert set(made.columns) == names
    assert {row[-2] for row in rows(made.path)} == {"ok", "missing"}


def test_the_manifest_says_what_the_set_was_made_of(train, history, spine, tmp_path):
    with clock.frozen(datetime(2026, 4, 1, tzinfo=UTC)):
        made = train(spine, tmp_path / "set.parquet", LOAD[:1], zone="UTC", service="delay_model")

    said = json.loads(made.manifest.read_text())
    assert made.manifest == tmp_path / "set.parquet.manifest.json"
    assert said["made_at"] == "2026-04-01T00:00:00+00:00"
    assert (said["service"], said["features"]) == ("delay_model", ["dock__load:parcels_24h"])
    assert (said["time_column"], said["zone"], said["status"]) == ("left_at", "UTC", False)
    assert said["spine"] == {
        "path": str(spine),
        "sha256": hashlib.sha256(spine.read_bytes()).hexdigest(),
    }
    newest = {s.as_of: s.snapshot_id for s in history.snapshots("dock__load")}
    assert said["snapshots"] == {"dock__load": [newest[as_of] for as_of in sorted(newest)]}
    assert said["output"]["rows"] == 6
    assert said["output"]["columns"] == [*HEADER.strip().split(","), "dock__load__parcels_24h"]
    assert {"featmill", "duckdb", "pyarrow", "deltalake"} == set(said["versions"])


def test_the_content_hash_follows_values_and_order_not_the_file(train, spine, tmp_path):
    def content(name: str, text: str) -> str:
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        made = train(path, tmp_path / f"{name}.parquet", zone="UTC")
        return json.loads(made.manifest.read_text())["output"]["content_sha256"]

    text = spine.read_text()
    lines = text.splitlines(keepends=True)

    assert content("same", text) == content("again", text)
    assert content("swapped", "".join([lines[0], lines[2], lines[1], *lines[3:]])) != content(
        "same", text
    )


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        (
            HEADER + "1,N,1,AB-1,2026-03-05 01:30:00,true\n",
            {},
            r"without a zone \(rule 1\), in 1 rows",
        ),
        (
            HEADER + "1,N,1,AB-1,2026-03-05 01:30:00,true\n",
            {"zone": "Mars"},
            "there is no zone 'Mars'",
        ),
        (HEADER + "1,N,1,AB-1,soon,true\n", {"zone": "UTC"}, "time column left_at is VARCHAR"),
        (
            HEADER + "1,N,1,AB-1,,true\n2,N,1,AB-1,2026-03-05,true\n",
            {"zone": "UTC"},
            "NULLs in left_at in 1 rows",
        ),
        (
            HEADER + "1,,1,AB-1,2026-03-05,true\n2,N,1,AB-1,2026-03-05,true\n",
            {"zone": "UTC"},
            "NULLs in depot_code",
        ),
        (
            HEADER + "1,7,1,AB-1,2026-03-05,true\n",
            {"zone": "UTC"},
            "key depot_code is BIGINT, the contract says TEXT",
        ),
        (
            HEADER + "1,N,one,AB-1,2026-03-05,true\n",
            {"zone": "UTC"},
            "key dock_no is VARCHAR, the contract says INT",
        ),
        (
            "departure_id,dock_no,left_at\n1,1,2026-03-05\n",
            {"zone": "UTC"},
            "has no column depot_code, van_plate",
        ),
        (
            HEADER + "1,N,1,AB-1,2026-03-05,true\n",
            {"zone": "UTC", "time": "when"},
            "has no column when",
        ),
        (
            HEADER.replace("is_late", "Dock__Load__Kinds_3D") + "1,N,1,A,2026-03-05,1\n",
            {"zone": "UTC"},
            "already has a column dock__load__kinds_3d",
        ),
        ("", {"zone": "UTC"}, "labels.csv"),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value[:40],
)
def test_a_bad_spine_is_refused_before_anything_is_written(train, tmp_path, text, more, told):
    """Rules 1, 15 and 16."""
    spine, out = tmp_path / "labels.csv", tmp_path / "out" / "set.parquet"
    spine.write_text(text)

    with pytest.raises(SpineError, match=told) as refused:
        train(spine, out, **more)

    assert refused.value.exit_code == 2
    assert not out.parent.exists()


@pytest.mark.parametrize("name", ["absent.csv", "labels.txt", "folder.parquet"])
def test_a_spine_that_is_no_file_of_ours_is_refused(train, tmp_path, name):
    (tmp_path / "labels.txt").write_text(HEADER)
    (tmp_path / "folder.parquet").mkdir()

    with pytest.raises(SpineError, match=r"expected an existing \.parquet or \.csv file"):
        train(tmp_path / name, tmp_path / "set.parquet")


def test_an_int_key_of_another_width_is_the_same_key(train, tmp_path):
    """Rule 16: kinds must agree, not widths."""
    spine = tmp_path / "labels.parquet"
    moment = pa.array([datetime(2026, 3, 5, 12, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    table = {"depot_code": ["N"], "dock_no": pa.array([1], pa.int8()), "left_at": moment}
    pq.write_table(pa.table(table), spine)

    made = train(spine, tmp_path / "set.parquet", LOAD[:1])

    assert rows(made.path, "dock__load__parcels_24h") == [(1,)]


def test_what_is_asked_for_must_exist(train, spine, tmp_path):
    out = tmp_path / "set.parquet"

    with pytest.raises(UsageError, match="no feature was asked for"):
        train(spine, out, ())
    with pytest.raises(UsageError, match="no feature table 'docks__load'"):
        train(spine, out, (FeatureRef(view="docks__load", feature="x"),))
    with pytest.raises(UsageError, match="dock__load has no feature 'x'"):
        train(spine, out, (FeatureRef(view="dock__load", feature="x"),))
    with pytest.raises(UsageError, match=r"is not a \.parquet path"):
        train(spine, tmp_path / "set.csv", zone="UTC")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.csv"]


def test_a_table_that_was_never_released_is_refused(history, spine, tmp_path):
    """What lies in the lake is not yet released."""
    registry = history.registry
    registry.location = tmp_path / "no releases"
    request = TrainingRequest(spine, "left_at", LOAD, tmp_path / "set.parquet", "UTC")

    with pytest.raises(NoRelease, match="dock__load has never been released"):
        build_training_set(load(history.settings.manifest), registry, request)


def test_a_failure_leaves_the_last_set_as_it_was(train, history, spine, tmp_path):
    """Also where it fails while it writes: half a file never has the output's name."""
    made = train(spine, tmp_path / "set.parquet", zone="UTC")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = tmp_path / "broken.csv"
    broken.write_text(HEADER + "1,N,1,AB-1,,true\n")

    with pytest.raises(SpineError):
        train(broken, made.path, zone="UTC")
    broken.unlink()
    (files,) = {s.location for s in history.snapshots("van__trips")}
    catalog = load(history.settings.manifest)
    request = TrainingRequest(spine, "left_at", TRIPS, made.path, "UTC")
    for path in [p for p in history.home.rglob("*.parquet") if files in str(p)][:1]:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        try:
            with pytest.raises(FeatmillError, match=r"cannot be read|could not be written"):
                build_training_set(catalog, history.registry, request)
        finally:
            path.write_bytes(whole)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_dbt_macro_stops_at_a_null_in_the_spine(tmp_path_factory):
    """Rule 15."""
    depot = fresh_depot(tmp_path_factory)
    depot.edit("seeds/delays.csv", "1,S,7,ZZ-9", "1,S,7,")

    (outcome,) = depot.build()

    (failed,) = outcome.failures
    assert failed.name == "trn_delays"
    assert "the spine has NULLs in van_plate" in failed.message


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "ref('dock__load')}",
            "ref('feat_dock__load')}",
            "point_in_time reads published tables, got:",
        ),
        ("'trips_1d']", "'trips_9d']", "van__trips has no feature trips_9d"),
    ],
)
def test_the_dbt_macro_names_what_it_cannot_read(depot, old, new, told):
    depot.edit("models/training/trn_delays.sql", old, new)

    (outcome,) = depot.build()

    assert told in {r.name: r.message for r in outcome.failures}["trn_delays"]
