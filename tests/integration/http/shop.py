"""A shop with services, exported into a real store; and servers of its features, in a thread of the test's own."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import uvicorn

from featmill.contract.catalog import (
    Catalog,
    Fallback,
    FeatureRef,
    FeatureService,
    RequestFeature,
    RequestField,
    ServingPolicy,
)
from featmill.contract.types import parse_type
from featmill.serving.http.options import ServeOptions
from featmill.serving.http.server import configuration, features_app
from tests.integration.serving.chain import Chain, day
from tests.unit.online.tables import feature_table

#: The moment that every answer is for.
NOW = day(3)

TYPES = {
    "flag": "BOOLEAN",
    "small": "INTEGER",
    "big": "BIGINT",
    "ratio": "DOUBLE",
    "city": "VARCHAR",
    "raw": "BLOB",
    "born": "DATE",
    "seen": "TIMESTAMPTZ",
    "exact": "DECIMAL(30, 2)",
    "tags": "VARCHAR[]",
}
CLICKS = feature_table("clicks", features={"count_7d": "BIGINT", "city": "VARCHAR"})
ORDERS = feature_table("orders", features={"total": "DOUBLE", "count_7d": "BIGINT"})
TYPED = feature_table("typed", keys={"at": "TIMESTAMPTZ", "code": "VARCHAR"}, features=TYPES)
OF_RETAIL = feature_table("visits", features={"pages": "BIGINT"}).model_copy(
    update={"tenant": "retail"}
)


def with_defaults(table, **defaults):
    """The table with these declared defaults."""
    features = tuple(
        f.model_copy(update={"has_default": True, "default": defaults[f.name]})
        if f.name in defaults
        else f
        for f in table.features
    )
    return table.model_copy(update={"features": features})


def service(name, *refs, **more):
    """A service of `view:feature` references."""
    found = (FeatureRef(view=v, feature=f) for v, _, f in (ref.partition(":") for ref in refs))
    policy = ServingPolicy(deadline=timedelta(seconds=2), failures=1_000)
    told: dict[str, Any] = {"description": f"about {name}", "owner": "ds", "policy": policy}
    return FeatureService(name=name, features=tuple(found), **(told | more))


REMEMBERING = ServingPolicy(
    deadline=timedelta(seconds=2),
    failures=1_000,
    cache_ttl=timedelta(minutes=1),
    negative_ttl=timedelta(minutes=1),
)
SERVICES = (
    service("churn", "clicks:count_7d", "clicks:city", "orders:total"),
    service(
        "priced",
        "clicks:count_7d",
        "orders:count_7d",
        request_fields=(
            RequestField(name="price", type=parse_type("DOUBLE")),
            RequestField(name="seen_at", type=parse_type("TIMESTAMPTZ")),
        ),
        request_features=(
            RequestFeature(name="double_price", type=parse_type("DOUBLE"), sql="price * 2"),
        ),
    ),
    service("typed", *(f"typed:{name}" for name in TYPES)),
    service("visits", "visits:pages"),
    service("remembered", "orders:total", policy=REMEMBERING),
    service(
        "careful",
        "clicks:count_7d",
        fallbacks=(
            Fallback(
                feature=FeatureRef(view="clicks", feature="count_7d"),
                source=FeatureRef(view="orders", feature="count_7d"),
            ),
        ),
    ),
)


class Shop(Chain):
    """The chain with services, and three users in the store.

    User 1 has everything, 2 has clicks that expired, 3 has NULLs; nobody else is there.
    """

    def __init__(self, folder, target, monkeypatch):
        super().__init__(folder, target, monkeypatch)
        clicks = CLICKS.model_copy(update={"ttl": timedelta(days=2)})
        self.tables: tuple = (
            with_defaults(clicks, count_7d=0),
            ORDERS,
            TYPED,
            OF_RETAIL,
        )

    @property
    def catalog(self):
        return Catalog(project="shop", tables=self.tables, services=SERVICES, sources=())

    def fill(self):
        """Publish, release and export; the release's id."""
        clicks, orders, typed, visits = self.tables
        at = day(2)
        whole = (True, -7, 2**53 + 1, float("inf"), "Zürich", b"\x00\xff")
        more = (day(1).date(), day(1), "12345678901234567890.50", ["a", "b"])
        release = self.release(
            self.snapshot(
                clicks, at, [(1, at, 5, "Bern"), (2, day(1), 6, "Genf"), (3, at, 7, None)]
            ),
            self.snapshot(orders, at, [(1, at, 1.5, 11), (3, at, None, None)]),
            self.snapshot(typed, at, [(day(1), "x", at, *whole, *more)]),
            self.snapshot(visits, at, [(1, at, 9)]),
        )
        self.export(release)
        return release

    def options(self, **more):
        """Options of a server of this shop, without keys and quiet unless said otherwise."""
        quiet = {"auth": False, "access_log": False, "as_of": NOW}
        return ServeOptions(project_dir=self.settings.root, **(quiet | more))

    @contextmanager
    def client(self, **more):
        """A client of a server that runs meanwhile."""
        options = self.options(**more)
        app = features_app(options, self.settings, self.catalog)
        with running(options, app) as url, httpx.Client(base_url=url, timeout=20) as client:
            yield client


@contextmanager
def running(options, app):
    """An application behind real HTTP on a free port of loopback, as `featmill serve` runs it; its URL."""
    config = configuration(options, app)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            until = time.monotonic() + 20
            while not server.started and thread.is_alive() and time.monotonic() < until:
                time.sleep(0.005)
            assert server.started, "the server did not start"
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
