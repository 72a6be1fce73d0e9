"""What the windows macro refuses in a build, and that threads change nothing (rule 6)."""

from __future__ import annotations

import duckdb
import pytest

from featmill.errors import BuildError
from orchestration import tasks

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt")]

YML = "models/features/feat_dock__load.yml"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "weight_kg, scale: 3, window: 24h",
            "weight_kg, window: 24h",
            "weight_kg_24h: sum over the DOUBLE weight_kg",
        ),
        (
            "weight_kg, scale: 3, window: 3d",
            "weight_kg::float, window: 3d",
            "weight_kg_mean_3d: mean over the FLOAT weight_kg::float",
        ),
    ],
)
def test_an_inexact_state_without_a_scale_is_refused(depot, old, new, told):
    """Rule 6: DuckDB's sum(DOUBLE) differs from run to run."""
    before = depot.state()
    depot.edit(YML, old, new)
    with depot.environment(), pytest.raises(BuildError, match=told) as refused:
        tasks.build(depot.settings)

    assert "declare the scale it is rounded to" in str(refused.value)
    assert depot.snapshots("dock__load") == before["snapshots"]["dock__load"]


def test_threads_change_no_value(depot):
    """Rule 6: sums and means over 300,000 DOUBLEs, at one thread and at two."""
    scans = """
        SELECT 's' || i AS scan_id, 'N' AS depot_code, 1 AS dock_no, 'box' AS kind,
            round(random() * 30, 3) AS weight_kg,
            TIMESTAMP '2026-03-05 01:00:00' + to_seconds(i % 70000) AS scanned_at, scanned_at AS ingested_at
        FROM range(300000) AS numbers (i)
    """
    with duckdb.connect() as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute(
            f"COPY ({scans}) TO '{depot.sources / 'scans.parquet'}' (ROW_GROUP_SIZE 20000)"
        )
    (depot.sources / "scans.csv").unlink()
    profile = depot.root / "profiles.yml"
    text = profile.read_text()
    model = depot.root / "models" / "features" / "feat_dock__load.sql"
    sql = model.read_text()
    contents = []
    for threads in (1, 2):
        depot.add(
            "profiles.yml",
            text.replace(
                "threads: 2", f"threads: {threads}\n      settings: {{threads: {threads}}}"
            ),
        )
        # Another definition of the same values, so that it is computed and published again.
        depot.add(str(model), sql.replace("from load", f"from load where {threads} = {threads}"))
        depot.build_one("2026-03-06")
        contents.append(depot.snapshots("dock__load")[-1])

    one, two = contents
    assert one.snapshot_id != two.snapshot_id
    assert one.content_hash == two.content_hash
    assert depot.read("SELECT max(parcels_24h) > 200000 FROM dock__load") == [(True,)]
