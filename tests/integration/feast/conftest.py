"""A warehouse of its own for each test, one server for all."""

from __future__ import annotations

import pytest

from featmill.online.server import EmbeddedServer
from featmill.settings import Settings
from tests.integration.feast.shop import (
    DAY_1,
    DAY_2,
    HOUR,
    PRICE_ROWS,
    SHELF_ROWS,
    Warehouse,
    customers,
)


@pytest.fixture
def settings(tmp_path):
    return Settings(project_dir=tmp_path / "a project")


@pytest.fixture
def warehouse(settings):
    return Warehouse(settings)


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


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The online store that featmill embeds."""
    embedded = EmbeddedServer(tmp_path_factory.mktemp("online"))
    embedded.start()
    yield embedded.target
    embedded.stop()


@pytest.fixture
def online(server):
    """An empty online store."""
    with server.client() as client:
        client.flushdb()
    return server
