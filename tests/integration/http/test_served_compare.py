"""From a request to the proof that a model was trained on what was served, with the commands that people use."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.integration.http.process import SERVICE, ended, run, serving

pytestmark = [pytest.mark.redis, pytest.mark.dbt, pytest.mark.slow, pytest.mark.xdist_group("dbt")]
ASKED = (
    {"depot_code": ["N", "N1"], "dock_no": 1, "van_plate": ["AB-1", "AB-2"]},
    {"depot_code": "N", "dock_no": [11], "van_plate": "ZZ-9"},
)


@pytest.fixture(scope="module")
def trained(depot, tmp_path_factory, free_port):
    """What was asked of a server that logs, and a training set for the same entities at the same moments."""
    folder = tmp_path_factory.mktemp("asked")
    rows = []
    words = ("--no-auth", "--as-of", "2026-03-06", "--log-share", "1")
    with serving(depot, free_port(), *words) as (process, client):
        for keys in ASKED:
            said = client.post("/features", json={"service": SERVICE, "keys": keys}).json()
            at = datetime.fromisoformat(said["as_of"])
            rows += [
                dict(zip(said["keys"], one, strict=True)) | {"asked_at": at}
                for one in zip(*said["keys"].values(), strict=True)
            ]
        assert ended(process) == 0
    asked, features = folder / "asked.parquet", folder / "features.parquet"
    pq.write_table(pa.Table.from_pylist(rows), asked)
    run(depot, "train", asked, "--time-column", "asked_at", "--service", SERVICE, "--out", features)
    return features


def compare(depot, features):
    words = ("served", "compare", features, "--service", SERVICE, "--time-column", "asked_at")
    return run(depot, *words, check=False)


def counts(said):
    """Of each feature in the report: rows, equal, different, not ok."""
    cells = [line.strip("│ ").split("│") for line in said.splitlines() if line.startswith("│")]
    return {name.strip(): tuple(map(int, numbers[:4])) for name, *numbers in cells}


def test_what_was_served_is_what_is_trained_on(depot, trained):
    done = compare(depot, trained)

    assert done.returncode == 0, done.stdout + done.stderr
    found = counts(done.stdout)
    assert found["parcels_24h"] == found["trips_1d"] == found["weight_kg_max_3d"] == (3, 3, 0, 0)
    assert len(found) == 10
    assert "3 rows in the log, 3 in the training set, 3 in both" in done.stdout
    assert "only" not in done.stdout


def test_a_difference_is_told_by_feature(depot, trained, tmp_path):
    table = pq.read_table(trained)
    at = table.column_names.index("dock__load__kinds_3d")
    wrong = pc.add(table.column(at), pa.array([0, 1, 0]))
    path = tmp_path / "wrong.parquet"
    pq.write_table(table.set_column(at, "dock__load__kinds_3d", wrong), path)
    done = compare(depot, path)

    assert done.returncode == 1
    assert counts(done.stdout)["kinds_3d"] == (3, 2, 1, 0)
    assert counts(done.stdout)["trips_1d"] == (3, 3, 0, 0)
    assert "differ in kinds_3d" in done.stderr


@pytest.mark.parametrize("lacking", ["features", "moments"])
def test_a_comparison_of_nothing_is_no_success(depot, trained, tmp_path, lacking):
    table = pq.read_table(trained)
    if lacking == "features":
        table = table.select(["depot_code", "dock_no", "van_plate", "asked_at"])
    else:
        at = table.column_names.index("asked_at")
        later = pc.add(table.column(at), pa.scalar(1, pa.duration("us")))
        table = table.set_column(at, "asked_at", later)
    path = tmp_path / "nothing.parquet"
    pq.write_table(table, path)
    done = compare(depot, path)

    assert done.returncode == 2
    assert "nothing was compared" in done.stderr
