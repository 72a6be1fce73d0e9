"""One store and one shop for all that only ask; a test that changes something has its own."""

from __future__ import annotations

import pytest

from featmill.online.server import EmbeddedServer
from tests.integration.http.shop import Shop


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """One embedded server."""
    server = EmbeddedServer(tmp_path_factory.mktemp("online"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shop(embedded, tmp_path_factory):
    """A shop that is online."""
    patch = pytest.MonkeyPatch()
    with embedded.target.client() as client:
        client.flushall()
    shop = Shop(tmp_path_factory.mktemp("shop"), embedded.target, patch)
    shop.fill()
    yield shop
    patch.undo()


@pytest.fixture(scope="module")
def client(shop):
    """A client of a server without keys."""
    with shop.client() as client:
        yield client
