"""A real server, started by featmill itself."""

from __future__ import annotations

import pytest

from featmill.online.server import EmbeddedServer


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    """One embedded server for tests that only need a store."""
    server = EmbeddedServer(tmp_path_factory.mktemp("online"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(embedded):
    """An empty store."""
    with embedded.target.client() as client:
        client.config_set("maxmemory", "0")
        client.flushall()
    return embedded.target


@pytest.fixture
def server(tmp_path):
    """A server of this test's own, not started yet."""
    own = EmbeddedServer(tmp_path / "online")
    yield own
    own.stop()
