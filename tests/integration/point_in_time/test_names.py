"""Keys and features named by keywords, or with a space in them, from dbt to a training set by each engine (rule 12)."""

from __future__ import annotations

import duckdb
import pytest

from featmill.contract.catalog import FeatureRef
from featmill.contract.manifest import load
from featmill.training.training_set import TrainingRequest, build_training_set
from featmill.warehouse.released_index import index_released
from tests.projects.depot_project import fresh_depot

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

EVENTS = 'select *, depot_code as "group", dock_no as "dock no" from {{ ref(\'stg_yard__scans\') }}'
WINDOWS = """
select "group", "dock no", "at", "order", "user id" from (
    {{ featmill.windows(ref('int_scans_named'), event_at='scanned_at', event_id='scan_id') }}
) as loads
"""
DECLARED = """
models:
  - name: feat_bay__select
    description: What a bay has handled.
    config:
      group: yard
      event_time: at
      meta:
        feature_table: {entity: bay, join_keys: [group, dock no], ttl: 3d, online: false, keep_events: true}
    data_tests: [featmill.feature_table]
    columns:
      - {name: group, quote: true, data_type: varchar, description: The depot.}
      - {name: dock no, quote: true, data_type: integer, description: The dock.}
      - {name: at, quote: true, data_type: timestamp, description: What the row was computed at.}
      - name: order
        quote: true
        description: Parcels scanned.
        data_type: bigint
        config: {meta: {feature: {aggregate: count, window: 3d, default: -1}}}
      - name: user id
        quote: true
        description: The kind of the last parcel.
        data_type: varchar
        config: {meta: {feature: {aggregate: last, value: kind, window: 3d, ignore_nulls: true, default: none}}}
"""
LABELS = """
select * from (values
    ('N', 1, timestamp '2026-03-05 12:00:00', true), ('N', 11, timestamp '2026-03-05 00:00:00', false),
    ('N1', 1, timestamp '2026-03-03 00:00:00', false), ('N', 1, timestamp '2026-03-08 00:00:00', true)
) as label("group", "dock no", "when", "case")
"""
LOOKED_UP = """
{{ featmill.point_in_time(
    spine=ref('int_labels_named'), time='when', features=[{'table': ref('bay__select')}], status=true
) }}
"""
AT_LABELS = """
{{ featmill.windows_at(
    spine=ref('int_labels_named'), time='when', table=ref('bay__select'), events=ref('int_scans_named'),
    event_at='scanned_at', event_id='scan_id', status=true
) }}
"""
FOUND = [
    ("N", 1, 5, "bag", "ok"),
    ("N", 11, 2, "bag", "ok"),
    ("N1", 1, -1, "none", "missing"),
    ("N", 1, 4, "bag", "ok"),
]


@pytest.fixture(scope="module")
def depot(tmp_path_factory):
    """Two releases of a table whose every name has to be quoted."""
    made = fresh_depot(tmp_path_factory)
    made.add("models/intermediate/int_scans_named.sql", EVENTS)
    made.add("models/intermediate/int_labels_named.sql", LABELS)
    made.add("models/features/feat_bay__select.sql", WINDOWS)
    made.add("models/features/feat_bay__select.yml", DECLARED)
    made.add("models/published/bay__select.sql", "{{ featmill.publish(ref('feat_bay__select')) }}")
    made.add("models/training/trn_looked_up.sql", LOOKED_UP)
    made.add("models/training/trn_at_labels.sql", AT_LABELS)
    for outcome in made.build("2026-03-05", "2026-03-06"):
        assert not outcome.failures, outcome.failures
    return made


COLUMNS = '"group", "dock no", "bay__select__order", "bay__select__user id", "bay__select__status"'


def test_the_macro_looks_them_up(depot):
    assert depot.candidate("trn_looked_up", COLUMNS) == sorted(FOUND)


def test_windows_at_labels_are_evaluated(depot):
    assert depot.candidate("trn_at_labels", COLUMNS) == [
        ("N", 1, 0, "none", "ok"),
        ("N", 1, 4, "bag", "ok"),
        ("N", 11, 2, "bag", "ok"),
        ("N1", 1, -1, "none", "missing"),
    ]


@pytest.mark.parametrize("engine", ["auto", "asof", "equi", "interval", "indexed"])
def test_every_engine_looks_them_up(depot, tmp_path, engine):
    catalog, labels = load(depot.settings.manifest), tmp_path / "labels.parquet"
    table = catalog.table("bay__select")
    if engine == "indexed":
        index_released(depot.registry, table.name, table.key_names, table.event_time)
    wanted = tuple(FeatureRef(view=table.name, feature=f.name) for f in table.features)
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({LABELS}) TO '{labels}'")
        request = TrainingRequest(
            labels, "when", wanted, tmp_path / "set.parquet", zone="UTC", status=True, engine=engine
        )
        made = build_training_set(catalog, depot.registry, request)
        found = connection.execute(f"SELECT {COLUMNS} FROM '{made.path}'").fetchall()

    assert found == FOUND
