"""What the windows macro refuses in a build, and that threads change nothing (rule 6)."""

from __future__ import annotations

import duckdb
import pytest

from featmill.errors import BuildError, GateFailed
from orchestration import tasks

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

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
        (
            "aggregate: mean, value: weight_kg, scale: 3",
            "aggregate: std, value: weight_kg",
            "weight_kg_mean_3d: std over the DOUBLE weight_kg",
        ),
        (
            "aggregate: mean, value: weight_kg, scale: 3",
            "aggregate: ratio, value: dock_no, of: weight_kg",
            "weight_kg_mean_3d: ratio over the DOUBLE weight_kg",
        ),
        # What a column lacks is told with its name, as `featmill check` does with file and line.
        (
            "aggregate: count, window: 24h",
            "aggregate: median, value: kind, window: 24h",
            "parcels_24h: an aggregate is one of count, .*, got: median",
        ),
        (
            "aggregate: count, window: 24h",
            "aggregate: count, window: 24h, hop: 7h",
            "a hop is exact or a duration that divides the day, got: 7h",
        ),
    ],
)
def test_a_window_that_cannot_be_computed_exactly_is_refused(depot, old, new, told):
    """Rules 4 and 6: DuckDB's sum(DOUBLE) differs from run to run."""
    before = depot.state()
    depot.edit(YML, old, new)
    with depot.environment(), pytest.raises((BuildError, GateFailed), match=told) as refused:
        tasks.gate(tasks.build(depot.settings))

    assert "over the" not in told or "declare the scale it is rounded to" in str(refused.value)
    assert depot.snapshots("dock__load") == before["snapshots"]["dock__load"]


def test_every_kind_of_column_is_built_and_published(depot):
    """A list, a calendar window, each new aggregate: built, tested, published and read."""
    declared = {
        "parcels_today": ("bigint", "aggregate: count, calendar: day, zone: Europe/Berlin, default: 0"),
        "last_kinds": ("varchar[]", "aggregate: last_n, n: 2, value: kind, window: 3d, default: []"),
        "since_scan": ("bigint", "aggregate: time_since_last, window: lifetime, default: null"),
        "weight_kg_std_3d": ("double", "aggregate: std, value: weight_kg, scale: 3, window: 3d, default: null"),
        "kind_top_3d": ("varchar", "aggregate: top, value: kind, window: 3d, default: null"),
    }  # fmt: skip
    columns = "".join(
        f"""
      - name: {name}
        description: One of them.
        data_type: {data_type}
        config: {{meta: {{feature: {{{feature}}}}}}}
"""
        for name, (data_type, feature) in declared.items()
    )
    depot.edit(YML, "unit_tests:\n", f"{columns}unit_tests:\n")
    depot.edit(YML, "online: true", "online: false")
    depot.edit(
        "models/features/feat_dock__load.sql",
        "    last_kind_lifetime\n",
        "    last_kind_lifetime,\n" + ",\n".join(declared) + "\n",
    )

    depot.build_one("2026-03-05")

    # s02, s11, s09 and s05 are inside; s05, of half an hour and a microsecond ago, is of this day in Berlin.
    assert depot.read("""
        SELECT parcels_today, last_kinds, since_scan, round(weight_kg_std_3d, 3), kind_top_3d
        FROM dock__load WHERE depot_code = 'N' AND dock_no = 1 ORDER BY published_at DESC LIMIT 1
    """) == [(1, ["box", "box"], 1800, 8.505, "box")]


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
