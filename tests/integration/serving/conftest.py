"""A warehouse of its own for each test, one server for all."""

from __future__ import annotations

import pytest

from featmill.online.server import EmbeddedServer
from tests.integration.serving.chain import Chain


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    """One embedded server."""
    server = EmbeddedServer(tmp_path_factory.mktemp("online"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def chain(embedded, tmp_path, monkeypatch):
    """A lake without a snapshot, a catalogue with one table, an empty store."""
    with embedded.target.client() as client:
        client.flushall()
    return Chain(tmp_path, embedded.target, monkeypatch)


@pytest.fixture
def store(embedded):
    """An empty store."""
    with embedded.target.client() as client:
        client.flushall()
    return embedded.target
