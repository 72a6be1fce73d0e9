"""Feast's own SDK on what featmill generates: real snapshots, a real registry, a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from exporters.feast.apply import apply
from exporters.feast.reader import online_vector
from exporters.feast.repository import write_repository
from featmill.errors import ContractError, OnlineUnreachable, UsageError
from tests.integration.feast.shop import (
    CUSTOMERS,
    DAY_1,
    DAY_2,
    DAY_3,
    PRICES,
    RISK,
    SHELVES,
    SHOP,
    catalog,
    feature,
    service,
)

pytestmark = [
    pytest.mark.feast,
    pytest.mark.xdist_group("feast"),
    # Feast and what lies below it warn of what they do themselves.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:feast",
        "ignore::DeprecationWarning:ibis",
        # The lake asks delta-rs by an argument that is going away.
        "ignore:.partition_filters.:DeprecationWarning",
    ),
]

HOUR = timedelta(hours=1)
EVERYTHING = ["customers:orders", "customers:city"]


def customers(*rows):
    """Rows of `(customer_id, orders, city)`; what else there is follows from them."""
    values = ", ".join(f"({c}, {o}, {'NULL' if t is None else repr(t)})" for c, o, t in rows)
    return (
        "SELECT customer_id::BIGINT AS customer_id, orders::INTEGER AS orders, "
        "(orders * 1.25)::DECIMAL(12, 2) AS spent, DATE '2026-01-31' AS first_on, "
        "TIMESTAMPTZ '2026-02-01 10:00:00+00' AS last_at, city::VARCHAR AS city, "
        f"orders < 2 AS is_new FROM (VALUES {values}) AS v(customer_id, orders, city)"
    )


PRICE_ROWS = "SELECT 'north' AS shop, 7::BIGINT AS customer_id, 0.5::DOUBLE AS discount"
SHELF_ROWS = (
    "SELECT 'north' AS shop, 3::INTEGER AS shelf, 9::BIGINT AS sold, [1, 2]::BIGINT[] AS sizes"
)


@pytest.fixture
def released(warehouse):
    """Two days of customers, one of prices and shelves."""
    day_1 = warehouse.snapshot(
        "customers", DAY_1, customers((7, 1, "Ulm"), (8, 5, None)), published_at=DAY_1 + HOUR
    )
    day_2 = warehouse.snapshot(
        "customers", DAY_2, customers((7, 2, "Bonn")), published_at=DAY_2 + HOUR
    )
    prices = warehouse.snapshot("prices", DAY_1, PRICE_ROWS, published_at=DAY_1 + HOUR)
    shelves = warehouse.snapshot("shelves", DAY_1, SHELF_ROWS, published_at=DAY_1 + HOUR)
    warehouse.release(day_1, prices, shelves)
    warehouse.release(day_2)
    return warehouse


def export(settings, warehouse, declared=SHOP, address="localhost:1"):
    folder = write_repository(settings, declared, warehouse.released(), address)
    return folder, apply(settings)


def open_feast(folder):
    from feast import FeatureStore

    return FeatureStore(repo_path=str(folder))


def history(store, rows, features=EVERYTHING, **options):
    """Point-in-time features for `(customer_id, moment)` rows, by these two."""
    import pandas as pd

    spine = pd.DataFrame(rows, columns=["customer_id", "event_timestamp"])
    table = store.get_historical_features(entity_df=spine, features=features, **options).to_arrow()
    return {(r.pop("customer_id"), r.pop("event_timestamp")): r for r in table.to_pylist()}


def test_the_registry_holds_what_the_contract_declares(settings, released):
    folder, result = export(settings, released)

    assert result.entities == ("customer", "shelf", "shop")
    assert result.views == ("customers", "prices", "shelves")
    assert result.services == ("risk",)
    view = open_feast(folder).get_feature_view("customers")
    assert {f.name: str(f.dtype) for f in view.schema} == {
        "customer_id": "Int64",
        "orders": "Int32",
        "spent": "Float64",
        "first_on": "UnixTimestamp",
        "last_at": "UnixTimestamp",
        "city": "String",
        "is_new": "Bool",
    }
    assert view.ttl == timedelta(days=2)
    assert view.owner == "data@example.com"
    assert view.tags == {"tenant": "default", "snapshot": "20260302T000000Z-0002-abc"}
    assert [f.description for f in view.features if f.name == "city"] == [
        "The city, as 'declared'."
    ]


def test_a_composite_key_is_several_entities_that_share_the_single_key_s(settings, released):
    folder, _ = export(settings, released)
    store = open_feast(folder)

    assert store.get_feature_view("prices").entities == ["shop", "customer"]
    assert store.get_feature_view("shelves").entities == ["shop", "shelf"]
    assert not store.get_feature_view("shelves").online
    assert str(store.get_entity("customer").value_type) == "ValueType.INT64"


def test_history_is_right_at_the_point_in_time(settings, released):
    """Rule 12: visible from feature_at on, until the ttl is over."""
    folder, _ = export(settings, released)
    before, late = DAY_1 - timedelta(microseconds=1), DAY_2 + timedelta(days=2, seconds=1)

    found = history(
        open_feast(folder),
        [(7, before), (7, DAY_1), (7, DAY_2 - HOUR), (7, DAY_2), (7, late), (8, DAY_2), (9, DAY_2)],
    )

    assert found[7, before] == {"orders": None, "city": None}
    assert found[7, DAY_1] == {"orders": 1, "city": "Ulm"}
    assert found[7, DAY_2 - HOUR] == {"orders": 1, "city": "Ulm"}
    assert found[7, DAY_2] == {"orders": 2, "city": "Bonn"}
    assert found[7, late] == {"orders": None, "city": None}
    assert found[8, DAY_2] == {"orders": 5, "city": None}
    assert found[9, DAY_2] == {"orders": None, "city": None}


def test_at_the_end_of_its_ttl_feast_still_shows_a_row(settings, released):
    """Unlike rule 12, by this one moment: Feast's edge is inclusive, and it is not ours to move."""
    folder, _ = export(settings, released)
    edge = DAY_2 + timedelta(days=2)

    found = history(open_feast(folder), [(7, edge), (7, edge + timedelta(microseconds=1))])

    assert found[7, edge]["orders"] == 2
    assert found[7, edge + timedelta(microseconds=1)]["orders"] is None


def test_a_correction_supersedes_its_whole_day(settings, released):
    """Rule 13: of one as_of the newest correction; an entity it no longer holds is gone."""
    export(settings, released)
    rows = customers((7, 20, "Kiel"))
    correction = released.snapshot("customers", DAY_1, rows, published_at=DAY_3)
    released.release(correction)

    folder, _ = export(settings, released)

    found = history(open_feast(folder), [(7, DAY_1), (8, DAY_1), (7, DAY_2)])
    assert found[7, DAY_1]["orders"] == 20
    assert found[8, DAY_1]["orders"] is None
    assert found[7, DAY_2]["orders"] == 2


def test_what_is_not_released_is_invisible(settings, released):
    released.snapshot("customers", DAY_3, customers((7, 3, "Trier")), published_at=DAY_3)

    folder, _ = export(settings, released)

    assert history(open_feast(folder), [(7, DAY_3)])[7, DAY_3]["orders"] == 2


def test_of_equal_event_times_the_later_published_wins(settings, warehouse):
    """Rule 13: ties on feature_at, here from a table whose event time is not the as_of."""
    table = CUSTOMERS.model_copy(update={"event_time": "last_at"})
    first = warehouse.snapshot("customers", DAY_2, customers((7, 2, "b")), published_at=DAY_3)
    older = warehouse.snapshot(
        "customers", DAY_1, customers((7, 1, "a")), published_at=DAY_3 + HOUR
    )
    warehouse.release(first, older)

    folder, _ = export(settings, warehouse, catalog(table))

    moment = datetime(2026, 2, 1, 10, tzinfo=UTC)
    assert history(open_feast(folder), [(7, moment)])[7, moment]["orders"] == 1


def test_history_of_a_composite_key_and_a_list(settings, released):
    import pandas as pd

    folder, _ = export(settings, released)
    spine = pd.DataFrame({"shop": ["north"], "shelf": [3], "event_timestamp": [DAY_1]})

    job = open_feast(folder).get_historical_features(
        entity_df=spine, features=["shelves:sold", "shelves:sizes"]
    )

    row = job.to_arrow().to_pylist()[0]
    assert (row["sold"], row["sizes"]) == (9, [1, 2])


def test_history_keeps_decimals_and_dates_exact(settings, released):
    folder, _ = export(settings, released)
    names = ["customers:spent", "customers:first_on", "customers:last_at"]

    row = history(open_feast(folder), [(7, DAY_1)], names)[7, DAY_1]

    assert row["spent"] == Decimal("1.25")
    assert row["first_on"] == date(2026, 1, 31)
    assert row["last_at"] == datetime(2026, 2, 1, 10, tzinfo=UTC)


def test_history_of_a_service_keeps_every_row(settings, released):
    """Rule 15: duplicates and unmatched rows stay; Feast does not promise the order."""
    import pandas as pd

    folder, _ = export(settings, released)
    store = open_feast(folder)
    spine = pd.DataFrame(
        {
            "customer_id": [7, 7, 9],
            "shop": ["north", "north", "south"],
            "event_timestamp": [DAY_1, DAY_1, DAY_1],
        }
    )

    job = store.get_historical_features(entity_df=spine, features=store.get_feature_service("risk"))

    rows = [(r["customer_id"], r["orders"], r["discount"]) for r in job.to_arrow().to_pylist()]
    assert sorted(rows) == [(7, 1, 0.5), (7, 1, 0.5), (9, None, None)]


def test_a_column_that_is_younger_than_its_table_is_null_before(settings, warehouse):
    old = warehouse.snapshot("customers", DAY_1, customers((7, 1, "a")), published_at=DAY_1 + HOUR)
    warehouse.release(old)
    export(settings, warehouse, catalog(CUSTOMERS))
    rows = f"SELECT *, 0.25::DOUBLE AS risk FROM ({customers((7, 2, 'b'))})"
    young = warehouse.snapshot("customers", DAY_2, rows, published_at=DAY_2 + HOUR)
    warehouse.release(young)
    grown = CUSTOMERS.model_copy(
        update={"features": (*CUSTOMERS.features, feature("risk", "DOUBLE"))}
    )

    folder, _ = export(settings, warehouse, catalog(grown))

    names = ["customers:orders", "customers:risk"]
    found = history(open_feast(folder), [(7, DAY_1), (7, DAY_2)], names)
    assert found[7, DAY_1] == {"orders": 1, "risk": None}
    assert found[7, DAY_2] == {"orders": 2, "risk": 0.25}


def test_before_the_first_release_there_is_a_view_without_rows(settings, warehouse):
    folder, result = export(settings, warehouse)

    assert result.views == ("customers", "prices", "shelves")
    assert history(open_feast(folder), [(7, DAY_1)])[7, DAY_1]["orders"] is None


def test_applying_again_changes_nothing(settings, released):
    folder, first = export(settings, released)
    view = open_feast(folder).get_feature_view("customers")

    _, second = export(settings, released)

    again = open_feast(folder).get_feature_view("customers")
    assert second == first
    assert again == view
    assert again.current_version_number == view.current_version_number


def test_what_is_not_declared_any_more_is_deleted(settings, released):
    folder, _ = export(settings, released)

    _, result = export(settings, released, catalog(CUSTOMERS))

    assert result.entities == ("customer",)
    assert result.views == ("customers",)
    assert result.services == ()
    store = open_feast(folder)
    assert [v.name for v in store.list_feature_views()] == ["customers"]
    assert [e.name for e in store.list_entities()] == ["customer"]
    assert [s.name for s in store.list_data_sources()] == ["customers"]
    assert [p.name for p in (folder / "data").iterdir()] == ["customers"]


def test_a_refused_definition_leaves_the_registry(settings, released):
    folder, _ = export(settings, released)
    before = (folder / "registry.db").read_bytes()
    (folder / "definitions.py").write_text("from feast import Entity\nEntity(name=1)\n")

    with pytest.raises(ContractError, match="Feast refused"):
        apply(settings)

    assert (folder / "registry.db").read_bytes() == before
    assert not list(folder.glob(".registry*"))


def test_applying_prints_nothing(settings, released, capfd):
    export(settings, released)

    assert capfd.readouterr().out == ""


def test_feast_reads_its_online_store_through_the_generated_settings(settings, released, online):
    import pandas as pd

    folder, _ = export(settings, released, address=online.feast_connection_string())
    store = open_feast(folder)
    frame = pd.DataFrame(
        {
            "customer_id": [7],
            "orders": pd.array([2], "int32"),
            "spent": [2.5],
            "first_on": [pd.Timestamp("2026-01-31", tz="UTC")],
            "last_at": [pd.Timestamp("2026-02-01 10:00", tz="UTC")],
            "city": ["Bonn"],
            "is_new": [False],
            "as_of": [pd.Timestamp(DAY_2)],
            "published_at": [pd.Timestamp(DAY_2)],
        }
    )
    store.write_to_online_store("customers", df=frame)
    store.materialize(DAY_1, DAY_3, feature_views=["prices"])

    found = online_vector(settings, "risk", {"customer_id": 7, "shop": "north"})
    unknown = online_vector(settings, "risk", {"customer_id": 8, "shop": "north"})

    assert found == {
        "customer_id": 7,
        "shop": "north",
        "orders": 2,
        "spent": 2.5,
        "discount": 0.5,
    }
    assert (unknown["orders"], unknown["discount"]) == (None, None)
    direct = store.get_online_features(["customers:city"], entity_rows=[{"customer_id": 7}])
    assert direct.to_dict()["city"] == ["Bonn"]


def test_removing_a_view_leaves_the_online_rows_to_their_writer(settings, released, online):
    address = online.feast_connection_string()
    folder, _ = export(settings, released, address=address)
    open_feast(folder).materialize(DAY_1, DAY_3, feature_views=["prices"])
    with online.client() as client:
        assert client.dbsize() == 1

        export(settings, released, catalog(CUSTOMERS), address=address)

        assert client.dbsize() == 1


def test_features_of_one_name_are_told_apart(settings, released, online):
    prices = PRICES.model_copy(update={"features": (feature("orders", "DOUBLE"),)})
    both = service("both", "customers:orders", "prices:orders")
    export(
        settings,
        released,
        catalog(CUSTOMERS, prices, services=(both,)),
        address=online.feast_connection_string(),
    )

    found = online_vector(settings, "both", {"customer_id": 7, "shop": "north"})

    assert set(found) == {"customer_id", "shop", "customers__orders", "prices__orders"}


def test_the_reader_says_what_is_wrong(settings, released):
    with pytest.raises(UsageError, match="no Feast repository"):
        online_vector(settings, "risk", {})
    write_repository(settings, SHOP, released.released(), "localhost:1")
    with pytest.raises(UsageError, match="nothing was applied"):
        online_vector(settings, "risk", {})
    apply(settings)
    with pytest.raises(UsageError, match="no service 'rust'") as unknown:
        online_vector(settings, "rust", {})
    assert unknown.value.hint == "it knows: risk"
    with pytest.raises(UsageError, match="is asked for customer_id") as missing:
        online_vector(settings, "risk", {"customer_id": 7})
    assert missing.value.hint == "it needs exactly: customer_id, shop"


def test_the_reader_says_that_no_store_answers(settings, released, monkeypatch):
    monkeypatch.setattr("redis.retry.sleep", lambda _: None)
    export(settings, released)

    with pytest.raises(OnlineUnreachable, match="no online store"):
        online_vector(settings, "risk", {"customer_id": 7, "shop": "north"})


@pytest.mark.slow  # a process that imports Feast
def test_plain_feast_apply_works_in_the_folder(settings, released):
    folder = write_repository(settings, SHOP, released.released(), "localhost:1")

    done = subprocess.run(
        [str(Path(sys.executable).with_name("feast")), "apply"],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Could not" not in done.stdout + done.stderr
    store = open_feast(folder)
    assert sorted(v.name for v in store.list_feature_views()) == sorted(
        t.name for t in (CUSTOMERS, PRICES, SHELVES)
    )
    assert [s.name for s in store.list_feature_services()] == [RISK.name]
    assert history(store, [(7, DAY_2)])[7, DAY_2]["orders"] == 2
