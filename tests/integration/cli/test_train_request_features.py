"""`featmill train --service` with features that are computed on request, and `featmill train verify` of them."""

from __future__ import annotations

import sys

import duckdb
import pytest

from featmill.cli.main import main
from tests.projects.depot_project import fresh_depot

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

EXPOSURE = "models/exposures/_exposures.yml"
DECLARED = """
    config:
      meta:
        feature_service:
          request_fields: {load_limit: "decimal(8, 2)"}
          request_features:
            leaving_hour: {data_type: bigint, sql: hour(as_of)}
            load_share:
              data_type: double
              sql: parcels_24h / nullif(load_limit, 0)
"""
SPINE = """depot_code,dock_no,van_plate,left_at,load_limit
N,1,AB-1,2026-03-05 08:30:00,10.00
N,1,AB-1,2026-03-05 09:00:00,
"""


@pytest.fixture(scope="module")
def depot(tmp_path_factory):
    """A depot whose service computes two features on request."""
    made = fresh_depot(tmp_path_factory)
    made.edit(EXPOSURE, "    type: ml\n", "    type: ml" + DECLARED)
    made.build("2026-03-05")
    return made


@pytest.fixture
def featmill(depot, capfd, monkeypatch):
    """`featmill(...)`: `(code, standard output, standard error)` of a command on the depot."""

    def running(*arguments):
        monkeypatch.setattr(sys, "argv", ["featmill", *map(str, arguments)])
        with depot.environment(FEATMILL_PROJECT_DIR=str(depot.root), COLUMNS="200"):
            code = 0
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        said = capfd.readouterr()
        return code, said.out, said.err

    return running


def test_a_set_of_a_service_has_its_request_features(depot, featmill, tmp_path):
    spine, out = tmp_path / "spine.csv", tmp_path / "set.parquet"
    spine.write_text(SPINE)
    options = (
        "--time-column",
        "left_at",
        "--zone",
        "UTC",
        "--service",
        "delay_model",
        "--out",
        out,
    )

    code, said, wrong = featmill("train", spine, *options)

    assert code == 0, said + wrong
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"SELECT leaving_hour, load_share, dock__load__parcels_24h / load_limit FROM '{out}'"
        ).fetchall()
    assert [row[0] for row in rows] == [8, 9]
    assert rows[0][1] == rows[0][2] is not None
    assert rows[1][1] is None

    manifest = f"{out}.manifest.json"
    code, said, wrong = featmill("train", "verify", manifest)
    assert (code, "identical: 2 rows" in said) == (0, True), said + wrong
    assert "other declaration" not in said

    depot.edit(EXPOSURE, "sql: hour(as_of)", "sql: minute(as_of)")
    depot.dbt("parse")
    code, said, wrong = featmill("train", "verify", manifest)
    depot.edit(EXPOSURE, "sql: minute(as_of)", "sql: hour(as_of)")
    assert code == 0, said + wrong
    assert (
        "although other declaration: delay_model computes leaving_hour by `minute(as_of)` now, "
        "the set has `hour(as_of)`" in said
    )


def test_a_spine_without_a_request_field_is_refused(featmill, tmp_path):
    spine = tmp_path / "spine.csv"
    spine.write_text("depot_code,dock_no,van_plate,left_at\nN,1,AB-1,2026-03-05 08:30:00\n")
    options = ("--time-column", "left_at", "--zone", "UTC", "--service", "delay_model")

    code, _, wrong = featmill("train", spine, *options, "--out", tmp_path / "set.parquet")

    assert code == 2
    assert "has no column load_limit, a request field of delay_model" in wrong


def test_features_one_by_one_need_no_request_field(featmill, tmp_path):
    spine = tmp_path / "spine.csv"
    spine.write_text("depot_code,dock_no,left_at\nN,1,2026-03-05 08:30:00\n")
    options = ("--time-column", "left_at", "--zone", "UTC", "--features", "dock__load:parcels_24h")

    code, said, wrong = featmill("train", spine, *options, "--out", tmp_path / "set.parquet")

    assert code == 0, said + wrong


def test_check_says_where_an_expression_gives_another_type(depot, featmill):
    """What the declarations alone do not show: DuckDB binds it."""
    assert featmill("check")[0] == 0

    depot.edit(
        EXPOSURE, "{data_type: bigint, sql: hour(as_of)}", "{data_type: integer, sql: hour(as_of)}"
    )
    code, _, wrong = featmill("check")
    depot.edit(
        EXPOSURE, "{data_type: integer, sql: hour(as_of)}", "{data_type: bigint, sql: hour(as_of)}"
    )

    assert code == 2
    message = "delay_model: request feature leaving_hour (hour(as_of)): it gives BIGINT, the declaration says INTEGER"
    assert message in wrong
