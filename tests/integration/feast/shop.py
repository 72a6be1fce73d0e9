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
