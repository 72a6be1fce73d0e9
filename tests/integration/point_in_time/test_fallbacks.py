"""A service's fallbacks in a training set: what stands in for a value online stands in for it there (rule 18)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from featmill import clock
from featmill.contract.catalog import (
    Catalog,
    Fallback,
    FeatureRef,
    FeatureService,
    RequestFeature,
)
from featmill.contract.types import parse_type
from featmill.training.training_set import TrainingRequest, build_training_set, training_frame
from featmill.training.verify import verify_training_set
from featmill.warehouse.lake import Lake
from featmill.warehouse.model import Snapshot
from featmill.warehouse.registry import Registry
from tests.integration.serving.stored import with_defaults, with_ttl
from tests.unit.online.tables import feature_table

AT = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
CARTS = with_ttl(
    with_defaults(feature_table("carts", features={"value": "DOUBLE", "city": "VARCHAR"}), value=7),
    HOUR,
)
USERS = feature_table("users", features={"mean": "DOUBLE", "city": "VARCHAR"})
VALUE, CITY, MEAN, HOME = (
    FeatureRef(view=view, feature=feature)
    for view, feature in (
        ("carts", "value"),
        ("carts", "city"),
        ("users", "mean"),
        ("users", "city"),
    )
)
#: Of the users, 1 has a cart and 2 a cart with NULLs; 3 has none, 4 is nobody.
CART_ROWS = [(1, 10.0, "Ulm"), (2, None, None)]
USER_ROWS = [(1, 1.0, "Bonn"), (2, 2.0, "Kiel"), (3, 3.0, None)]
SPINE = "SELECT unnest([1, 2, 3, 4]) AS user_id, TIMESTAMPTZ '{}' AS at"


def released(folder):
    """Both tables with a row of each entity, valid from AT."""
    registry = Registry(Lake(folder / "lake"))
    snapshots = []
    for table, rows in ((CARTS, CART_ROWS), (USERS, USER_ROWS)):
        location = str(registry.lake.location(table.name))
        snapshot = Snapshot(
            table.name,
            "20260301T000000Z-1-aa",
            AT,
            AT,
            AT,
            "f",
            (),
            len(rows),
            "c",
            location,
            -1,
        )
        number, text = (feature.name for feature in table.features)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"CREATE TABLE given (user_id BIGINT, {number} DOUBLE, {text} TEXT)")
            connection.executemany("INSERT INTO given VALUES (?, ?, ?)", rows)
            reader = connection.sql(
                f"SELECT user_id, TIMESTAMPTZ '{AT}' AS feature_at, {number}, {text}, "
                f"TIMESTAMPTZ '{AT}' AS published_at, '{snapshot.snapshot_id}' AS snapshot_id FROM given"
            ).to_arrow_reader(1_000)
            snapshots.append(registry.lake.append(reader, snapshot))
    with clock.frozen(AT):
        registry.commit(AT, snapshots, "shop")
    return registry


def catalog(*features):
    service = FeatureService(
        name="ranking",
        description="",
        owner=None,
        features=features,
        fallbacks=(Fallback(feature=VALUE, source=MEAN), Fallback(feature=CITY, source=HOME)),
        request_features=(
            RequestFeature(name="twice", type=parse_type("DOUBLE"), sql="value * 2"),
        ),
    )
    return Catalog(project="shop", tables=(CARTS, USERS), services=(service,), sources=())


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return released(tmp_path_factory.mktemp("fallbacks"))


def trained(registry, after, features, **more):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        spine = connection.sql(SPINE.format(AT + after)).to_arrow_table()
    request = TrainingRequest(
        spine=spine, time="at", features=features, service="ranking", value_status=True, **more
    )
    return training_frame(catalog(*features), registry, request)


@pytest.mark.parametrize(
    "features", [(VALUE, CITY), (VALUE, CITY, MEAN, HOME), (MEAN, VALUE, CITY)]
)
@pytest.mark.parametrize(
    ("after", "value", "city"),
    [
        (timedelta(0), [10.0, None, 3.0, 7.0], ["Ulm", None, None, None]),
        (HOUR, [1.0, 2.0, 3.0, 7.0], ["Bonn", "Kiel", None, None]),
    ],
)
def test_what_stands_in_online_stands_in_in_training(registry, features, after, value, city):
    """Own row, else the source's row, else the default; a NULL of a row that serves is a fact."""
    found = trained(registry, after, features)

    columns = found.to_pydict()
    asked = {f"{ref.view}__{ref.feature}" for ref in features}
    assert set(columns) == {"user_id", "at", "twice", *asked, *(f"{n}__status" for n in asked)}
    assert columns["carts__value"] == value
    assert columns["carts__city"] == city
    assert columns["twice"] == [None if one is None else one * 2 for one in value]
    own = ["default", "default"] if after else ["ok", "ok"]
    assert columns["carts__value__status"] == [*own, "default", "default"]
    assert columns["carts__city__status"] == [*own, "default", "missing"]


def test_without_its_service_a_feature_has_no_fallback(registry):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        spine = connection.sql(SPINE.format(AT)).to_arrow_table()
    request = TrainingRequest(spine=spine, time="at", features=(VALUE,))

    found = training_frame(catalog(VALUE), registry, request)

    assert found.to_pydict()["carts__value"] == [10.0, None, 7.0, 7.0]


@pytest.mark.parametrize("is_file", [True, False])
def test_a_set_with_fallbacks_is_made_again(registry, tmp_path, is_file):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        spine = connection.sql(SPINE.format(AT + HOUR)).to_arrow_table()
        path = tmp_path / "spine.parquet"
        connection.execute(f"COPY spine TO '{path}' (FORMAT parquet)")
    out = tmp_path / "set.parquet"
    features = (VALUE, CITY)
    request = TrainingRequest(
        spine=path if is_file else spine,
        time="at",
        features=features,
        service="ranking",
        out=out,
        status=True,
    )
    build_training_set(catalog(*features), registry, request)
    manifest = out.with_name("set.parquet.manifest.json")

    verdict = verify_training_set(manifest, registry.lake)

    assert verdict.causes == ()
    said = json.loads(manifest.read_text())
    assert [one["source"] for one in said["fallbacks"]] == [MEAN.model_dump(), HOME.model_dump()]
    said["fallbacks"] = []
    manifest.write_text(json.dumps(said))
    assert "value differs: carts__value" in verify_training_set(manifest, registry.lake).causes[0]
