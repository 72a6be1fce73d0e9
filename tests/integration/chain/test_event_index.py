"""An event index from a build to a training set with windows at the spine's times, and what makes it stale."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from featmill.cli.main import main
from featmill.contract.catalog import FeatureRef
from featmill.contract.manifest import load
from featmill.governance.erasure import erase
from featmill.training.training_set import TrainingRequest, build_training_set, open_training_set
from featmill.warehouse.event_log import event_log_of
from featmill.warehouse.event_log_index import event_index_root
from orchestration import tasks
from tests.projects.depot_project import SCANS, Depot

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

FEATURES = tuple(
    FeatureRef(view="dock__load", feature=name) for name in ("parcels_24h", "kinds_3d")
)


def declare(depot: Depot, added: str) -> None:
    depot.edit("models/features/feat_dock__load.yml", "online: true", f"online: true\n{added}")


@pytest.fixture
def indexed(depot) -> Depot:
    """Built as `featmill build` does it: the loads keep their events, and an index of them."""
    declare(depot, "          keep_events: true\n          index: true")
    with depot.environment():
        tasks.build(depot.settings, ["2026-03-07"])
    return depot


def asked(depot: Depot, **options: Any) -> TrainingRequest:
    spine = depot.root / "spine.csv"
    spine.write_text(
        "depot_code,dock_no,left_at\nN,11,2026-03-05 18:00:00\nN,11,2026-03-05 15:00:00\nN1,1,2026-03-04 18:00:00\n"
    )
    return TrainingRequest(
        spine, "left_at", FEATURES, zone="UTC", windows="spine", status=True, **options
    )


def trained(depot: Depot) -> tuple[list, str, str]:
    """The training set's rows, and how its windows were evaluated."""
    with open_training_set(load(depot.settings.manifest), depot.registry, asked(depot)) as rows:
        (made,) = rows.windows
        return rows.reader.read_all().to_pylist(), made.engine, made.why


def index_of(depot: Depot):
    log = event_log_of(depot.registry.released_snapshots("dock__load")[-1])
    return event_index_root(log.location)


def test_a_build_indexes_the_events_and_training_uses_it(indexed):
    """Rule 4, over the index and without it."""
    (folder,) = index_of(indexed).iterdir()

    found, engine, why = trained(indexed)

    assert (engine, why) == ("kernel", f"event index at {folder}")
    assert [row["dock__load__parcels_24h"] for row in found] == [1, 0, 1]
    shutil.rmtree(folder)
    again, engine, why = trained(indexed)
    assert (again, engine) == (found, "kernel")
    assert why.startswith("events sorted in this call")


def test_an_entity_that_only_the_entity_model_knows_has_empty_windows(indexed):
    """Rule 20: dock (S, 7) is declared and had no scan; before its first snapshot nobody knew it."""
    catalog, request = load(indexed.settings.manifest), asked(indexed, value_status=True)
    request.spine.write_text(
        "depot_code,dock_no,left_at\nS,7,2026-03-06 00:00:00\nS,7,2026-03-05 23:59:59\nX,1,2026-03-08 00:00:00\n"
    )

    with open_training_set(catalog, indexed.registry, request) as rows:
        found = rows.reader.read_all().to_pylist()

    status = [row["dock__load__kinds_3d__status"] for row in found]
    assert status == ["ok", "default", "default"]
    assert [row["dock__load__status"] for row in found] == ["ok", "missing", "missing"]
    assert found[0]["dock__load__kinds_3d"] == 0
    snapshots = open_training_set(catalog, indexed.registry, replace(request, windows="snapshot"))
    with snapshots as rows:
        looked_up = rows.reader.read_all().to_pylist()
    assert [row["dock__load__status"] for row in looked_up] == ["ok", "missing", "missing"]


def test_what_a_correction_of_an_older_as_of_learnt_is_counted(indexed):
    """Rules 9, 17 and 18: the log that was learnt last is read, and after its cut-off no row is said to be whole."""
    late = ("s12", "N", 11, "box", "5", "2026-03-05 17:00:00", "2026-03-08 12:00:00")
    after = ("s13", "N", 11, "box", "5", "2026-03-07 12:00:00", "2026-03-07 12:00:05")
    catalog, request = load(indexed.settings.manifest), asked(indexed, value_status=True)
    request.spine.write_text(
        "depot_code,dock_no,left_at\nN,11,2026-03-07 18:00:00\nN,11,2026-03-05 18:00:00\nX,1,2026-03-07 18:00:00\n"
    )

    statuses: list[str] = []

    def found():
        with open_training_set(catalog, indexed.registry, request) as rows:
            (made,) = rows.windows
            released = indexed.registry.released_snapshots("dock__load")
            assert made.known_until >= max(snapshot.cut_off for snapshot in released)
            read = rows.reader.read_all().to_pylist()
        statuses[:] = [row["dock__load__status"] for row in read]
        values = [
            (row["dock__load__parcels_24h"], row["dock__load__parcels_24h__status"]) for row in read
        ]
        return values, made.stale

    assert found() == ([(0, "stale"), (1, "ok"), (0, "default")], 2)
    assert statuses == ["stale", "ok", "missing"]
    indexed.write_scans([*SCANS, late, after])
    indexed.build_one("2026-03-04")
    assert found() == ([(1, "ok"), (2, "ok"), (0, "default")], 0)
    indexed.build_one("2026-03-03", FEATMILL_CUT_OFF="2026-03-06T06:00:00Z")
    assert found() == ([(1, "ok"), (2, "ok"), (0, "default")], 0)


def test_the_manifest_and_the_explanation_tell_which_engine_and_why(indexed, capfd, monkeypatch):
    (folder,) = index_of(indexed).iterdir()
    request = asked(indexed, out=indexed.root / "set.parquet")

    made = build_training_set(load(indexed.settings.manifest), indexed.registry, request)

    stated = json.loads(made.manifest.read_text())["window_engines"]
    assert stated == {
        "dock__load": {
            "engine": "kernel",
            "why": f"event index at {folder}",
            "known_until": "2026-03-07T00:00:00+00:00",
            "stale_rows": 0,
        }
    }
    code, said = command(
        indexed, monkeypatch, capfd,
        "train", str(request.spine), "--time-column", "left_at", "--zone", "UTC", "--explain",
        "--features", "dock__load:parcels_24h", "--windows", "spine",
    )  # fmt: skip
    assert code == 0, said
    assert "windows of" in said
    assert "event index" in said


def test_erased_events_are_in_no_index(indexed):
    """Rule 9: what is gone is gone from what was made of it, also from a copy that somebody put back."""
    (folder,) = index_of(indexed).iterdir()
    kept = indexed.root / "kept"
    shutil.copytree(folder, kept)
    keys = pa.table({"depot_code": ["N"], "dock_no": pa.array([11], pa.int32())})

    assert erase(indexed.registry.lake, "dock__load", keys).event_rows > 0

    assert not folder.exists()
    shutil.copytree(kept, folder)
    found, _, why = trained(indexed)
    assert why.startswith("events sorted in this call")
    assert [row["dock__load__parcels_24h"] for row in found] == [0, 0, 1]


def test_the_command_builds_what_a_plain_dbt_build_left_out(depot, capfd, monkeypatch):
    declare(depot, "          keep_events: true\n          index: true")
    depot.build("2026-03-07")
    assert not index_of(depot).exists()

    said = command(depot, monkeypatch, capfd, "index")[1]

    (folder,) = index_of(depot).iterdir()
    assert "events" in said
    assert trained(depot)[2] == f"event index at {folder}"


def test_without_the_declaration_there_is_none(depot):
    declare(depot, "          keep_events: true")
    with depot.environment():
        tasks.build(depot.settings, ["2026-03-07"])

    assert not index_of(depot).exists()


def command(depot: Depot, monkeypatch, capfd, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["featmill", *arguments])
    code = 0
    with depot.environment(FEATMILL_PROJECT_DIR=str(depot.root)):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    said = capfd.readouterr()
    return code, said.out + said.err
