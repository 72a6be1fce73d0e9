"""A small shop: three feature tables, and a warehouse that writes and releases their snapshots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from featmill.contract.catalog import (
    Catalog,
    Feature,
    FeatureRef,
    FeatureService,
    FeatureTable,
    JoinKey,
)
from featmill.contract.types import parse_type
from featmill.warehouse.lake import Lake
from featmill.warehouse.model import Snapshot
from featmill.warehouse.registry import Registry

DAY_1 = datetime(2026, 3, 1, tzinfo=UTC)
DAY_2 = datetime(2026, 3, 2, tzinfo=UTC)
DAY_3 = datetime(2026, 3, 3, tzinfo=UTC)


def feature(name, declared):
    return Feature(
        name=name,
        type=parse_type(declared),
        description=f"The {name}, as 'declared'.",
        has_default=False,
        default=None,
        ignore_nulls=False,
        classification="internal",
        window=None,
    )


def table(name, keys, features, **changed):
    fields = {
        "name": name,
        "model": f"model.shop.{name}",
        "candidate": f"model.shop.feat_{name}",
        "publish_node": f"model.shop.{name}",
        "version": None,
        "entity": name,
        "join_keys": tuple(JoinKey(name=k, type=parse_type(t)) for k, t in keys.items()),
        "event_time": "as_of",
        "ttl": None,
        "online": True,
        "tenant": "default",
        "owner": "data@example.com",
        "description": f"What we know of a {name}.",
        "tags": (),
        "features": tuple(feature(n, t) for n, t in features.items()),
        "sources": (),
    }
    return FeatureTable(**{**fields, **changed})


def catalog(*tables, services=()):
    return Catalog(project="shop", tables=tables, services=services, sources=())


def service(name, *references):
    return FeatureService(
        name=name,
        description="A model.",
        owner="ml@example.com",
        features=tuple(
            FeatureRef(view=r.split(":")[0], feature=r.split(":")[1]) for r in references
        ),
    )


CUSTOMERS = table(
    "customers",
    {"customer_id": "BIGINT"},
    {
        "orders": "INTEGER",
        "spent": "DECIMAL(12, 2)",
        "first_on": "DATE",
        "last_at": "TIMESTAMP",
        "city": "VARCHAR",
        "is_new": "BOOLEAN",
    },
    entity="customer",
    ttl=timedelta(days=2),
)
SHELVES = table(
    "shelves",
    {"shop": "VARCHAR", "shelf": "INTEGER"},
    {"sold": "BIGINT", "sizes": "BIGINT[]"},
    entity="shelf",
    online=False,
)
PRICES = table(
    "prices",
    {"shop": "VARCHAR", "customer_id": "BIGINT"},
    {"discount": "DOUBLE"},
    entity="price",
)
RISK = service("risk", "customers:orders", "customers:spent", "prices:discount")
SHOP = catalog(CUSTOMERS, SHELVES, PRICES, services=(RISK,))


HOUR = timedelta(hours=1)
EVERYTHING = ["customers:orders", "customers:city"]
PRICE_ROWS = "SELECT 'north' AS shop, 7::BIGINT AS customer_id, 0.5::DOUBLE AS discount"
SHELF_ROWS = (
    "SELECT 'north' AS shop, 3::INTEGER AS shelf, 9::BIGINT AS sold, [1, 2]::BIGINT[] AS sizes"
)
NOWHERE = {"type": "redis", "connection_string": "localhost:1"}


def customers(*rows):
    """Rows of `(customer_id, orders, city)`; what else there is follows from them."""
    values = ", ".join(f"({c}, {o}, {'NULL' if t is None else repr(t)})" for c, o, t in rows)
    return (
        "SELECT customer_id::BIGINT AS customer_id, orders::INTEGER AS orders, "
        "(orders * 1.25)::DECIMAL(12, 2) AS spent, DATE '2026-01-31' AS first_on, "
        "TIMESTAMPTZ '2026-02-01 10:00:00+00' AS last_at, city::VARCHAR AS city, "
        f"orders < 2 AS is_new FROM (VALUES {values}) AS v(customer_id, orders, city)"
    )


def export(settings, warehouse, declared=SHOP, online=NOWHERE, **more):
    """Write and apply both repositories; the one with our plug-ins, and what was applied."""
    from exporters.feast.apply import apply
    from exporters.feast.repository import write_repository

    folder, _ = write_repository(settings, declared, warehouse.released(), online, **more)
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


class Warehouse:
    """Writes snapshots as the publisher does, and releases them."""

    def __init__(self, settings):
        self.registry = Registry(Lake(settings.lake_dir))
        self._count = 0

    def snapshot(self, name, as_of, rows, *, published_at):
        """Append a snapshot of these rows: SQL of a SELECT without the publish metadata."""
        import duckdb

        lake = self.registry.lake
        self._count += 1
        snapshot = Snapshot(
            table=name,
            snapshot_id=f"{as_of:%Y%m%dT%H%M%SZ}-{self._count:04d}-abc",
            as_of=as_of,
            cut_off=as_of,
            published_at=published_at,
            fingerprint="f",
            sources=(),
            rows=1,
            content_hash="c",
            location=str(lake.location(name)),
            delta_version=-1,
        )
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            reader = connection.sql(
                f"SELECT *, TIMESTAMPTZ '{as_of}' AS as_of, "
                f"TIMESTAMPTZ '{published_at}' AS published_at, "
                f"'{snapshot.snapshot_id}' AS snapshot_id FROM ({rows})"
            ).to_arrow_reader(1000)
            return lake.append(reader, snapshot)

    def release(self, *snapshots):
        for as_of in sorted({s.as_of for s in snapshots}):
            self.registry.commit(as_of, [s for s in snapshots if s.as_of == as_of], "shop")

    def released(self):
        """What a caller of `write_repository` gives it."""
        return {
            name: self.registry.released_snapshots(name) for name in self.registry.lake.tables()
        }
