"""The publish node publishes what was tested in the same build, or nothing (rule 20)."""

from __future__ import annotations

import pytest

from featmill.errors import BuildError, GateFailed
from orchestration import tasks
from tests.projects.depot_project import SCANS, TABLES

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt")]

NEW_SCAN = ("s99", "N", 1, "box", "1.25", "2026-03-05 20:00:00", "2026-03-05 20:00:00")
GATE = "featmill_feature_table_feat_dock__load_"
#: Rows that break the generated test, but not the unit test: a key twice.
TWICE = (
    "models/features/feat_dock__load.sql",
    "from load",
    "from load inner join (values ('N'), ('N1'), ('N1'), ('S')) as t (code) on code = depot_code",
)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run"], "is not published by dbt run: only dbt build runs the tests first"),
        (["build", "-s", "dock__load"], "feat_dock__load is not part of this build"),
        (["build", "--exclude", GATE], f"its test {GATE} is not part of this build"),
        (
            ["build", "--exclude-resource-type", "test"],
            f"its test {GATE} is not part of this build",
        ),
        (["build", "--indirect-selection", "empty", "-s", "+dock__load"], f"its test {GATE}"),
        (["build", "--empty"], "is not published"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_what_was_not_tested_in_this_build_is_not_published(depot, arguments, reason):
    """There is something to publish each time: a source has changed."""
    depot.write_scans([*SCANS, NEW_SCAN])
    before = depot.state()

    done = depot.dbt(*arguments)

    assert not done.is_success
    assert done.statuses["dock__load"] == "error"
    assert reason in done.messages["dock__load"]
    assert [
        s for s in depot.snapshots("dock__load") if s not in before["snapshots"]["dock__load"]
    ] == []
    assert depot.releases == before["releases"]


def test_a_sample_of_the_rows_is_not_published(depot):
    """`dbt build --sample`: where the sources are texts, dbt's own filter on their event_time stops even sooner."""
    depot.write_scans([*SCANS, NEW_SCAN])
    before = depot.state()

    done = depot.dbt("build", "--sample", "{'start': '2026-03-01', 'end': '2026-03-02'}")

    assert not done.is_success
    assert done.statuses["dock__load"] in ("error", "skipped")
    assert "not published with --empty or --sample" in done.messages["van__trips"]
    assert depot.state() == before


def test_dbt_retry_publishes_nothing(depot):
    """After a failed unit test `dbt retry` would run the publish node without any test."""
    depot.write_scans([*SCANS, NEW_SCAN])
    depot.edit("models/features/feat_dock__load.yml", "hop: 1h", "hop: exact")
    assert "dock__load" in depot.dbt("build").skipped
    before = depot.state()

    retried = depot.run("retry")

    assert retried.returncode == 1
    assert (
        "dock__load is not published: feat_dock__load is not part of this build" in retried.stdout
    )
    assert depot.state() == before


def test_the_build_that_the_refusal_recommends_publishes(depot):
    """`dbt build -s +dock__load`."""
    depot.write_scans([*SCANS, NEW_SCAN])

    done = depot.dbt("build", "-s", "+dock__load")

    assert done.is_success
    assert len(depot.snapshots("dock__load")) == 2
    assert (
        depot.registry.newest().snapshots["dock__load"]
        == depot.snapshots("dock__load")[1].snapshot_id
    )


def test_a_failing_test_keeps_its_table_and_the_release_back(depot):
    """The other table may be published; readers see neither until both are."""
    depot.write_scans([*SCANS, NEW_SCAN])
    depot.edit(
        "models/features/feat_van__trips.sql", "    trips_1d,", "    trips_1d + 1 as trips_1d,"
    )
    depot.edit(*TWICE)
    before = depot.state()
    rows = {table: depot.read(f"SELECT * FROM {table} ORDER BY ALL") for table in TABLES}

    (outcome,) = depot.build()

    assert {r.name for r in outcome.failures} == {GATE}
    with pytest.raises(GateFailed, match=GATE) as failed:
        tasks.gate([outcome])
    assert failed.value.exit_code == 1
    assert depot.snapshots("dock__load") == before["snapshots"]["dock__load"]
    assert len(depot.snapshots("van__trips")) == 2
    assert depot.releases == before["releases"]
    assert any(said.startswith("no release: ") and "dock__load" in said for said in outcome.said)
    assert {table: depot.read(f"SELECT * FROM {table} ORDER BY ALL") for table in TABLES} == rows

    # Mended, the next build makes the release of both; the table that was published stands.
    van = depot.snapshots("van__trips")
    depot.edit(TWICE[0], TWICE[2], TWICE[1])
    depot.build_one()
    assert depot.snapshots("van__trips") == van
    assert set(depot.registry.newest().snapshots.values()) == {
        depot.snapshots(table)[1].snapshot_id for table in TABLES
    }


def test_a_failing_unit_test_keeps_the_table_back(depot):
    before = depot.state()
    depot.edit("models/features/feat_dock__load.yml", "hop: 1h", "hop: exact")

    (outcome,) = depot.build()

    assert [r.kind for r in outcome.failures] == ["unit_test"]
    assert {r.name: r.status for r in outcome.results}["dock__load"] == "skipped"
    assert depot.releases == before["releases"]
    assert depot.snapshots("dock__load") == before["snapshots"]["dock__load"]


@pytest.mark.parametrize(
    ("select", "reason"),
    [
        ("depot_code, dock_no, null::timestamp as valid_at", "a NULL time"),
        ("depot_code, dock_no, valid_at + interval 1 microsecond as valid_at", "after as_of"),
        ("depot_code, nullif(dock_no, 11) as dock_no, valid_at", "a NULL key"),
    ],
)
def test_the_generated_test_refuses(depot, select, reason):
    """Rules 2, 3 and 20: no key or time NULL, none twice, none valid after as_of."""
    depot.edit(TWICE[0], "    depot_code,\n    dock_no,\n    valid_at,", f"    {select},")

    (outcome,) = depot.build()

    assert [r.name for r in outcome.failures] == [GATE], reason
    assert len(depot.snapshots("dock__load")) == 1


def test_a_test_that_dbt_would_run_after_publishing_is_refused(depot):
    """It reads a second model, so dbt does not order it before the publish node."""
    depot.write_scans([*SCANS, NEW_SCAN])
    sql = "select * from {{ ref('feat_dock__load') }} where (select count(*) from {{ ref('extra') }}) > 9"
    depot.add("models/intermediate/extra.sql", "select 1 as x")
    depot.add("tests/reads_two_models.sql", sql)

    done = depot.dbt("build")

    assert not done.is_success
    hint = "add a first line to dock__load: -- depends_on: {{ ref('extra') }}"
    assert hint in done.messages["dock__load"]
    assert len(depot.snapshots("dock__load")) == 1

    depot.edit("models/published/dock__load.sql", "{{ f", "-- depends_on: {{ ref('extra') }}\n{{ f")
    assert depot.dbt("build").is_success
    assert len(depot.snapshots("dock__load")) == 2


def test_a_warning_does_not_keep_a_table_back(depot):
    depot.write_scans([*SCANS, NEW_SCAN])
    sql = "{{ config(severity='warn') }} select * from {{ ref('feat_dock__load') }}"
    depot.add("tests/always_warns.sql", sql)

    outcome = depot.build_one()

    assert {r.name: r.status for r in outcome.results}["always_warns"] == "warn"
    assert len(depot.snapshots("dock__load")) == 2
    assert len(depot.releases) == 2


def test_a_table_without_a_test_is_not_published(depot):
    depot.write_scans([*SCANS, NEW_SCAN])
    tests = "    data_tests:\n      - featmill.feature_table\n"
    depot.edit("models/features/feat_dock__load.yml", tests, "")

    done = depot.dbt("build")

    assert "feat_dock__load has no data test" in done.messages["dock__load"]
    assert len(depot.snapshots("dock__load")) == 1


KINDS = """\
        config: {meta: {feature: {aggregate: count_distinct, value: kind, window: 3d, delay: 0s, default: 0}}}
"""


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        (
            [
                (".sql", "    kinds_3d,\n", ""),
                (".yml", "      - name: kinds_3d\n", ""),
                (".yml", "        description: How many kinds of parcel.\n", ""),
                (".yml", "        data_type: bigint\n" + KINDS, ""),
                (".yml", ", kinds_3d: 3", ""),
                (".yml", ", kinds_3d: 0", ""),
            ],
            "column kinds_3d is published as int64 and is gone",
        ),
        (
            [
                (
                    ".yml",
                    "        data_type: bigint\n" + KINDS,
                    "        data_type: integer\n" + KINDS,
                )
            ],
            "column kinds_3d is published as int64, the feature table now has int32",
        ),
    ],
    ids=["dropped", "another type"],
)
def test_a_live_column_keeps_its_name_and_type(depot, edits, reason):
    """delta-rs would cast in silence."""
    before = depot.state()
    for suffix, old, new in edits:
        depot.edit(f"models/features/feat_dock__load{suffix}", old, new)

    with depot.environment(), pytest.raises(BuildError, match=reason):
        tasks.build(depot.settings)

    assert depot.state() == before


def test_an_added_column_is_null_in_what_was_published_before(depot):
    added = (
        "      - name: lightest_kg_3d\n        data_type: double\n        config: "
        "{meta: {feature: {aggregate: min, value: weight_kg, window: 3d, default: null}}}\nunit_tests:"
    )
    depot.edit("models/features/feat_dock__load.yml", "unit_tests:", added)
    depot.edit(
        "models/features/feat_dock__load.sql", "    kinds_3d,", "    kinds_3d,\n    lightest_kg_3d,"
    )

    depot.build_one("2026-03-05")

    seen = depot.read(
        "SELECT valid_at::date::varchar, count(lightest_kg_3d) FROM dock__load GROUP BY 1 ORDER BY 1"
    )
    assert seen == [("2026-03-05", 3), ("2026-03-06", 0)]


def test_malformed_yml_names_the_file(depot):
    before = depot.state()
    depot.add("models/broken.yml", "models: [")

    with pytest.raises(BuildError, match=r"broken\.yml") as broken:
        depot.build()

    assert broken.value.exit_code == 1
    assert depot.state() == before
