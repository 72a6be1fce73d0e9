"""A real cluster of three primaries, a primary with replicas and sentinels, on loopback.

Each is a context manager, as `server_processes` says: whatever happens inside, the servers are killed at its end.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from featmill.online.connection import OnlineTarget
from featmill.online.slots import SLOTS
from tests.integration.online.server_processes import (
    HOST,
    Server,
    free_ports,
    servers,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "HOST",
    "SERVICE",
    "Cluster",
    "SentinelGroup",
    "Server",
    "free_ports",
    "running_cluster",
    "running_sentinels",
    "servers",
    "wait_until",
]

SERVICE = "mymaster"


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
