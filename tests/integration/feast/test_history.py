"""`get_historical_features` of the Feast SDK over released snapshots, by our offline store (rules 11 to 16)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import duckdb
import pytest

from featmill.errors import NoRelease, SpineError, UsageError
from featmill.warehouse.features_database import write_features_database
from tests.integration.feast.shop import (
    CUSTOMERS,
    DAY_1,
    DAY_2,
    DAY_3,
    EVERYTHING,
    HOUR,
    catalog,
    customers,
    export,
    feature,
    history,
    open_feast,
)

pytestmark = [
    pytest.mark.feast,
    pytest.mark.xdist_group("feast"),
    # Feast and what lies below it warn of what they do themselves.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:feast",
        "ignore:On demand feature view is an experimental feature:RuntimeWarning",
        # The lake asks delta-rs by an argument that is going away.
        "ignore:.partition_filters.:DeprecationWarning",
    ),
]


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
    # Rule 11: a snapshot that lacks it says that it is gone.
    assert found[8, DAY_2] == {"orders": None, "city": None}
    assert found[9, DAY_2] == {"orders": None, "city": None}


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
    """Rule 15: duplicates and unmatched rows stay, in the order they were given."""
    import pandas as pd

    folder, _ = export(settings, released)
    store = open_feast(folder)
    spine = pd.DataFrame(
        {
            "customer_id": [7, 9, 7],
            "shop": ["north", "south", "north"],
            "event_timestamp": [DAY_1, DAY_1, DAY_1],
        }
    )

    job = store.get_historical_features(entity_df=spine, features=store.get_feature_service("risk"))

    rows = [(r["customer_id"], r["orders"], r["discount"]) for r in job.to_arrow().to_pylist()]
    assert rows == [(7, 1, 0.5), (9, None, None), (7, 1, 0.5)]


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


def test_the_end_of_a_ttl_is_outside(settings, released):
    """Rule 12, to the microsecond; Feast's own stores count the end as inside."""
    folder, _ = export(settings, released)
    edge = DAY_2 + timedelta(days=2)

    found = history(open_feast(folder), [(7, edge - timedelta(microseconds=1)), (7, edge)])

    assert found[7, edge - timedelta(microseconds=1)]["orders"] == 2
    assert found[7, edge]["orders"] is None


def test_any_ttl_and_any_name_will_do(settings, warehouse):
    """Feast's DuckDB store takes whole days or less than one, and loses names that end in _y."""
    table = CUSTOMERS.model_copy(
        update={"ttl": timedelta(hours=36), "features": (feature("pay_y", "INTEGER"),)}
    )
    rows = "SELECT 7::BIGINT AS customer_id, 3::INTEGER AS pay_y"
    warehouse.release(warehouse.snapshot("customers", DAY_1, rows, published_at=DAY_1))
    folder, _ = export(settings, warehouse, catalog(table))
    edge = DAY_1 + timedelta(hours=36)

    found = history(open_feast(folder), [(7, edge - HOUR), (7, edge)], ["customers:pay_y"])

    assert [row["pay_y"] for row in found.values()] == [3, None]


def test_before_the_first_release_there_is_nothing_to_look_up(settings, warehouse):
    folder, _ = export(settings, warehouse)

    with pytest.raises(NoRelease, match="customers has never been released"):
        history(open_feast(folder), [(7, DAY_1)])


def test_entity_rows_of_a_query_read_the_features_database(settings, released):
    write_features_database(settings.features_database, released.registry)
    folder, _ = export(settings, released)
    query = "SELECT customer_id, as_of AS asked_at, orders * 10 AS y FROM customers ORDER BY 1, 2"

    job = open_feast(folder).get_historical_features(
        entity_df=query, features=["customers:orders"], full_feature_names=True
    )

    assert job.to_arrow().to_pylist() == [
        {"customer_id": 7, "asked_at": DAY_1, "y": 10, "customers__orders": 1},
        {"customer_id": 7, "asked_at": DAY_2, "y": 20, "customers__orders": 2},
        {"customer_id": 8, "asked_at": DAY_1, "y": 50, "customers__orders": 5},
    ]
    said = job.metadata
    assert (said.features, said.keys) == (["customers:orders"], ["customer_id", "y"])


def test_a_query_that_fails_says_so(settings, released):
    folder, _ = export(settings, released)

    job = open_feast(folder).get_historical_features("SELECT 1 FROM nowhere", EVERYTHING)

    with pytest.raises(SpineError, match="the spine's SQL fails"):
        job.to_arrow()


def test_the_sql_gives_the_same_rows(settings, released):
    """Entities that are gone included (rule 11)."""
    import pandas as pd

    folder, _ = export(settings, released)
    entity_df = pd.DataFrame(
        [(7, DAY_2), (8, DAY_2), (8, DAY_1), (7, DAY_2 + timedelta(days=2))],
        columns=["customer_id", "event_timestamp"],
    )
    job = open_feast(folder).get_historical_features(entity_df, EVERYTHING)

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("entity_df", entity_df)
        rows = connection.execute(job.to_sql()).fetchall()

    assert [row[2:] for row in rows] == [(2, "Bonn"), (None, None), (5, None), (None, None)]
    assert job.to_df()[["orders", "city"]].to_numpy().tolist()[0] == [2, "Bonn"]


def test_one_view_under_two_names_and_keys(settings, released):
    import pandas as pd
    from feast import FeatureService

    folder, _ = export(settings, released)
    store = open_feast(folder)
    view = store.get_feature_view("customers")[["orders"]]
    both = FeatureService(
        name="both",
        features=[
            view.with_name("buyer").with_join_key_map({"customer_id": "buyer_id"}),
            view.with_name("seller").with_join_key_map({"customer_id": "seller_id"}),
        ],
    )
    store.apply([both])
    frame = pd.DataFrame({"buyer_id": [7, 8], "seller_id": [8, 9], "event_timestamp": [DAY_1] * 2})

    job = store.get_historical_features(frame, both, full_feature_names=True)

    found = job.to_arrow().to_pylist()
    assert [(r["buyer__orders"], r["seller__orders"]) for r in found] == [(1, 5), (5, None)]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("entity_df", frame)
        rows = connection.execute(job.to_sql()).fetchall()
    assert [row[3:] for row in rows] == [(1, 5), (5, None)]


def test_without_entity_rows_every_row_of_the_range_is_one(settings, released):
    folder, _ = export(settings, released)

    job = open_feast(folder).get_historical_features(
        features=["customers:orders"], start_date=DAY_1, end_date=DAY_2 - HOUR
    )

    assert job.to_arrow().to_pylist() == [
        {"customer_id": 7, "event_timestamp": DAY_1, "orders": 1},
        {"customer_id": 8, "event_timestamp": DAY_1, "orders": 5},
    ]
    mixed = open_feast(folder).get_historical_features(
        features=["customers:orders", "prices:discount"], start_date=DAY_1, end_date=DAY_2
    )
    with pytest.raises(UsageError, match="the views must have the same keys"):
        mixed.to_arrow()


def test_an_on_demand_view_is_computed_from_what_was_found(settings, released):
    import pandas as pd
    from feast import Field, RequestSource
    from feast.on_demand_feature_view import on_demand_feature_view
    from feast.types import Float64, Int64

    folder, _ = export(settings, released)
    store = open_feast(folder)
    asked = RequestSource(name="asked", schema=[Field(name="extra", dtype=Int64)])

    @on_demand_feature_view(
        sources=[store.get_feature_view("customers"), asked],
        schema=[Field(name="more", dtype=Float64)],
    )
    def added(inputs):
        return pd.DataFrame({"more": (inputs["orders"] + inputs["extra"]).astype("float64")})

    store.apply([added])
    frame = pd.DataFrame({"customer_id": [7], "event_timestamp": [DAY_2], "extra": [40]})

    found = store.get_historical_features(frame, ["added:more", "customers:orders"]).to_df()

    assert found["more"].tolist() == [42.0]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"customer_id": [7, None], "event_timestamp": [DAY_1] * 2}, "customer_id is DOUBLE"),
        ({"customer_id": ["7"], "event_timestamp": [DAY_1]}, "customer_id is VARCHAR"),
        ({"customer_id": [7], "event_timestamp": [None]}, "event_timestamp"),
        ({"customer_id": [7]}, "no column event_timestamp"),
        ({"event_timestamp": [DAY_1]}, "no column customer_id"),
        ({"customer_id": [7], "event_timestamp": [DAY_1], "orders": [1]}, "a column orders"),
        (
            {"customer_id": [7], "event_timestamp": [datetime(2026, 3, 1)]},  # noqa: DTZ001
            "without a zone",
        ),
    ],
    ids=["NULL", "text", "no moment", "no time", "no key", "a feature's name", "no zone"],
)
def test_entity_rows_that_have_no_point_in_time_are_refused(settings, released, frame, said):
    """Rules 1, 15 and 16."""
    import pandas as pd

    folder, _ = export(settings, released)

    job = open_feast(folder).get_historical_features(pd.DataFrame(frame), EVERYTHING)

    with pytest.raises(SpineError, match=said):
        job.to_arrow()


def test_a_zone_and_the_defaults_are_the_store_s_to_declare(settings, released):
    import pandas as pd

    table = CUSTOMERS.model_copy(
        update={
            "features": tuple(
                f.model_copy(update={"has_default": True, "default": -1})
                if f.name == "orders"
                else f
                for f in CUSTOMERS.features
            )
        }
    )
    folder, _ = export(settings, released, catalog(table))
    store = open_feast(folder)
    frame = pd.DataFrame(
        {"customer_id": [7, 9], "event_timestamp": [datetime(2026, 3, 2)] * 2}  # noqa: DTZ001
    )
    store.config.offline_store.zone = "Asia/Tokyo"

    as_feast = store.get_historical_features(frame, ["customers:orders"]).to_arrow()
    store.config.offline_store.defaults = True
    as_ours = store.get_historical_features(frame, ["customers:orders"]).to_arrow()

    # Midnight in Tokyo is the day before in UTC.
    assert as_feast["orders"].to_pylist() == [1, None]
    assert as_ours["orders"].to_pylist() == [1, -1]


def test_a_saved_dataset_is_read_back(settings, released, tmp_path):
    import pandas as pd
    from feast.errors import SavedDatasetLocationAlreadyExists
    from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

    folder, _ = export(settings, released)
    store = open_feast(folder)
    frame = pd.DataFrame({"customer_id": [8, 7], "event_timestamp": [DAY_1, DAY_2]})
    storage = SavedDatasetFileStorage(path=str(tmp_path / "sets" / "one.parquet"))
    job = store.get_historical_features(frame, EVERYTHING)

    with pytest.warns(RuntimeWarning, match="experimental"):
        store.create_saved_dataset(job, "one", storage)
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)

    with pytest.warns(RuntimeWarning, match="experimental"):
        again = store.get_saved_dataset("one").to_df()
    assert again[["customer_id", "orders"]].to_numpy().tolist() == [[8, 5], [7, 2]]
    assert [p.name for p in (tmp_path / "sets").iterdir()] == ["one.parquet"]


def test_rows_cannot_be_written_into_a_published_table(settings, released):
    """Rule 19."""
    import pandas as pd

    folder, _ = export(settings, released)
    store = open_feast(folder)
    columns = store.get_feature_view("customers").batch_source.get_table_column_names_and_types(
        store.config
    )
    frame = pd.DataFrame({name: [7] for name, _ in columns})

    with pytest.raises(UsageError, match=r"cannot be written to customers.*\(rule 19\)"):
        store.write_to_offline_store("customers", frame)


def test_the_whole_table_and_its_latest_rows_can_be_pulled(settings, released):
    """What Feast's own compute engines read; the latest rows are those that would be online (rules 11 and 12)."""
    folder, _ = export(settings, released)
    store = open_feast(folder)
    offline, source = (
        store._get_provider().offline_store,
        store.get_feature_view("customers").batch_source,
    )
    columns = (store.config, source, ["customer_id"], ["orders"], "as_of", "published_at")

    latest = offline.pull_latest_from_table_or_query(*columns, DAY_1, DAY_2).to_arrow().to_pylist()
    earlier = offline.pull_latest_from_table_or_query(*columns, DAY_1, DAY_1).to_arrow()
    everything = offline.pull_all_from_table_or_query(*columns, DAY_1, DAY_3).to_arrow()

    assert latest == [{"customer_id": 7, "as_of": DAY_2, "orders": 2, "published_at": DAY_2 + HOUR}]
    assert earlier.num_rows == 2
    assert sorted(everything["orders"].to_pylist()) == [1, 2, 5]
