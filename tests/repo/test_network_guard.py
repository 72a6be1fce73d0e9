"""Tests stay on this machine: what `tests/conftest.py` lets through, and what not."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.conftest import NetworkForbidden


@pytest.mark.parametrize("host", ["198.51.100.7", "example.org", "2001:db8::1"])
def test_another_machine_is_out_of_reach(host):
    with pytest.raises(NetworkForbidden, match="loopback"):
        socket.create_connection((host, 443), timeout=1)


def test_an_address_is_refused_without_a_name_lookup():
    with socket.socket() as client, pytest.raises(NetworkForbidden, match="loopback"):
        client.connect_ex(("198.51.100.7", 443))


def test_loopback_is_in_reach():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1])).close()


def test_unix_sockets_are_in_reach(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path has room for some 107 characters
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("socket")
        server.listen()
        client.connect("socket")


def test_asyncio_is_guarded_too():
    with pytest.raises(NetworkForbidden, match="loopback"):
        asyncio.run(asyncio.open_connection("198.51.100.7", 443))
