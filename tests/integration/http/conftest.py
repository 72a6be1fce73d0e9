"""One store and one shop for all that only ask; a test that changes something has its own."""

from __future__ import annotations

import socket

import pytest

from featmill.online.server import EmbeddedServer
from tests.integration.http.process import run
from tests.integration.http.shop import Shop
from tests.projects.depot_project import fresh_depot


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


@pytest.fixture(scope="module")
def depot(tmp_path_factory):
    """A project whose newest release is online."""
    depot = fresh_depot(tmp_path_factory)
    run(depot, "export", "--no-feast")
    yield depot
    run(depot, "online", "stop")


@pytest.fixture(scope="session")
def free_port():
    """A function that finds a port that nobody listens on."""

    def find():
        with socket.create_server(("127.0.0.1", 0)) as free:
            return free.getsockname()[1]

    return find


@pytest.fixture
def port(free_port):
    """A port that nobody listens on."""
    return free_port()
