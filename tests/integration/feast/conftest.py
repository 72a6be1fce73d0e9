"""A warehouse of its own for each test, one server for all."""

from __future__ import annotations

import pytest

from featmill.online.server import EmbeddedServer
from featmill.settings import Settings
from tests.integration.feast.shop import Warehouse


@pytest.fixture
def settings(tmp_path):
    return Settings(project_dir=tmp_path / "a project")


@pytest.fixture
def warehouse(settings):
    return Warehouse(settings)


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
