"""`featmill train` and `featmill train verify` on a project that dbt built."""

from __future__ import annotations

import json
import sys
from datetime import datetime

import duckdb
import pytest

from featmill.cli.main import main
from tests.projects.depot_project import fresh_depot

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

LABELS_SQL = (
    "select depot_code, dock_no, left_at, is_late from {{ ref('delays') }} "
    "where dock_no < 9 order by left_at"
)
LABELS_YML = """
models:
  - name: trn_labels
    config:
      meta:
        label: {horizon: 6h, at: left_at}
"""
FEATURES = ["--features", "dock__load:parcels_24h,dock__load:kinds_3d", "--zone", "UTC"]


@pytest.fixture(scope="module")
def depot(tmp_path_factory):
    """A depot whose loads keep their events, with a model of labels."""
    made = fresh_depot(tmp_path_factory)
    made.edit(
        "models/features/feat_dock__load.yml",
        "online: true",
        "online: true\n          keep_events: true",
    )
    made.add("models/training/trn_labels.sql", LABELS_SQL)
    made.add("models/training/trn_labels.yml", LABELS_YML)
    made.build("2026-03-05", "2026-03-06")
    return made


@pytest.fixture
def featmill(depot, capfd, monkeypatch):
    """`featmill(...)`: `(code, standard output, standard error)` of a command on the depot."""

    def running(*arguments):
        monkeypatch.setattr(sys, "argv", ["featmill", *arguments])
        with depot.environment(FEATMILL_PROJECT_DIR=str(depot.root)):
            code = 0
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        said = capfd.readouterr()
        return code, said.out, said.err

    return running


def rows(path, columns="*"):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"SELECT {columns} FROM read_parquet('{path}')").fetchall()


def manifest(path):
    return json.loads(path.with_name(path.name + ".manifest.json").read_text())


def test_a_model_is_a_spine_with_the_label_it_declares(featmill, depot, tmp_path):
    """Rule 17: the horizon stands beside the model; the cut-off is what the newest build had learnt."""
    out = tmp_path / "set.parquet"
    train = ["train", "--model", "trn_labels", "--out", str(out), *FEATURES]

    code, _, err = featmill(*train)

    assert (code, out.exists()) == (2, False)
    assert "trn_labels: 1 rows have a label that is not mature at the cut-off 2026-03-06" in err
    code, said, err = featmill(*train, "--immature", "drop")
    assert code == 0, err
    assert "left out 1 rows with an immature label" in said
    assert rows(out, "left_at::varchar, dock__load__parcels_24h") == [
        ("2026-03-01 00:00:00", 0),
        ("2026-03-04 23:59:59.999999", 0),
        ("2026-03-05 12:00:00", 1),
    ]
    stated = manifest(out)
    assert stated["spine"]["kind"] == "model"
    assert stated["label"]["rows"] == {"mature": 3, "immature": 1}
    assert featmill("train", "verify", f"{out}.manifest.json")[0] == 0


def test_sql_is_a_spine(featmill, tmp_path):
    """Over the features database: every dock that was ever published, at one moment."""
    out = tmp_path / "set.parquet"
    text = "select distinct depot_code, dock_no, timestamptz '2026-03-06 12:00Z' as t from dock__load order by all"

    code, _, err = featmill(
        "train", "--sql", text, "--time-column", "t", "--out", str(out), *FEATURES
    )

    assert code == 0, err
    assert rows(out, "depot_code, dock_no, dock__load__parcels_24h") == [
        ("N", 1, 2),
        ("N", 11, 1),
        ("N1", 1, 0),
        ("S", 7, 0),
    ]


def test_windows_are_evaluated_at_the_spine_s_times(featmill, depot, tmp_path):
    """Rule 4: at 18:00 the window holds what a snapshot of midnight could not know; the manifest says which it is."""
    spine, out = tmp_path / "spine.csv", tmp_path / "set.parquet"
    spine.write_text(
        "depot_code,dock_no,left_at\nN,11,2026-03-05 18:00:00\nN,11,2026-03-05 15:00:00\nX,1,2026-03-05 18:00:00\n"
    )
    train = ["train", str(spine), "--time-column", "left_at", "--out", str(out), *FEATURES]

    assert featmill(*train, "--windows", "snapshot")[0] == 0
    by_snapshot = rows(out, "dock__load__parcels_24h")
    code, _, err = featmill(*train, "--windows", "spine", "--value-status", "--status")

    assert code == 0, err
    assert by_snapshot == [(1,), (1,), (0,)]
    found = rows(
        out, "dock__load__parcels_24h, dock__load__parcels_24h__status, dock__load__status"
    )
    assert found == [(1, "ok", "ok"), (0, "ok", "ok"), (0, "default", "missing")]
    stated = manifest(out)
    assert stated["windows"] == {"dock__load:parcels_24h": "spine", "dock__load:kinds_3d": "spine"}
    assert featmill("train", "verify", f"{out}.manifest.json")[0] == 0


def test_windows_at_the_spine_s_times_need_events(featmill, tmp_path):
    spine = tmp_path / "spine.csv"
    spine.write_text("van_plate,left_at\nAB-1,2026-03-05 18:00:00\n")

    code, _, err = featmill(
        "train", str(spine), "--time-column", "left_at", "--zone", "UTC", "--windows", "spine",
        "--features", "van__trips:trips_1d", "--out", str(tmp_path / "o.parquet"),
    )  # fmt: skip

    assert code == 2
    assert "van__trips keeps no events" in err
    assert "keep_events: true" in err


def test_verify_names_the_cause_and_exits_1(featmill, depot, tmp_path):
    spine, out = tmp_path / "spine.csv", tmp_path / "set.parquet"
    spine.write_text("depot_code,dock_no,left_at\nN,11,2026-03-06 18:00:00\n")
    train = ["train", str(spine), "--time-column", "left_at", "--out", str(out), *FEATURES]
    assert featmill(*train)[0] == 0

    code, said, _ = featmill("train", "verify", f"{out}.manifest.json")
    assert code == 0
    assert said.startswith("identical: 1 rows, made again from ")
    spine.write_text("depot_code,dock_no,left_at\nN,1,2026-03-06 18:00:00\n")
    code, _, err = featmill("train", "verify", f"{out}.manifest.json")

    assert code == 1
    assert "not identical" in err
    assert f"spine changed: {spine} has another hash" in err
    assert "value differs: dock_no in 1 rows (row 0: was 11, is 1)" in err
    assert featmill("train", "verify", str(spine))[0] == 2


def test_an_explanation_writes_nothing(featmill, tmp_path):
    spine = tmp_path / "spine.csv"
    spine.write_text("depot_code,dock_no,left_at\nN,11,2026-03-06 18:00:00\n")

    code, said, err = featmill(
        "train", str(spine), "--time-column", "left_at", "--explain", *FEATURES
    )

    assert code == 0, err
    assert "dock__load" in said
    assert [path.name for path in tmp_path.iterdir()] == ["spine.csv"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give one spine: a file, --sql or --model"),
        (["x.csv", "--sql", "select 1"], "give one spine: a file, --sql or --model"),
        (["x.csv"], "--time-column is missing"),
        (["x.csv", "--time-column", "t", "--label-at", "t"], "give --label-horizon too"),
        (["x.csv", "--time-column", "t", "--label-horizon", "soon"], "'soon' is not a duration"),
        (["x.csv", "--time-column", "t", "--at", "2026-03-05T06:30:00"], "is no moment"),
        (["x.csv", "--time-column", "t"], "--out is missing"),
        (["--model", "nope", "--out", "o.parquet"], "there is no dbt model 'nope'"),
        (["--sql", "select 1 as t", "--time-column", "t", "--out", "o.parquet"], "has no column"),
    ],
)
def test_what_cannot_be_meant_is_refused(featmill, options, said):
    code, _, err = featmill("train", *options, *FEATURES)

    assert code == 2
    assert said in err


def test_the_registry_of_a_moment_is_read(featmill, depot, tmp_path):
    """Rule 22: a moment before the first release has none."""
    spine, out = tmp_path / "spine.csv", tmp_path / "set.parquet"
    spine.write_text("depot_code,dock_no,left_at\nN,11,2026-03-06 18:00:00\n")
    train = ["train", str(spine), "--time-column", "left_at", "--out", str(out), *FEATURES]

    assert featmill(*train, "--at", "2026-03-05")[0] == 1
    assert featmill(*train, "--snapshot", depot.releases[0].release_id)[0] == 0
    made = datetime.fromisoformat(manifest(out)["cut_off"])
    assert made.isoformat().startswith("2026-03-06")
