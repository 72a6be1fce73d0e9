"""The servers a store consists of, and which of them holds a key.

One server is a topology of one, so whoever writes or reads rows need not know what kind of store it is. A cluster's map
is what one of its nodes says; the nodes learn of a change one after the other, so after a reply such as MOVED it is
asked for again, of another node each time, for a bounded number of times.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from hiredis import ReplyError

from featmill.errors import OnlineError, OnlineUnreachable, SlotsMoved
from featmill.online.connection import OnlineTarget, StoreKind, ask
from featmill.online.refusals import refusal, translated_errors
from featmill.online.slots import SLOTS, key_slot, key_slots

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from numpy.typing import NDArray
    from redis import Redis

    Places = NDArray[np.int64]

_T = TypeVar("_T")

#: Seconds before each further try to follow slots that moved. A migration of one slot by hand takes about as long as
#: its keys take to copy, a failover some multiples of the cluster's node timeout.
PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 10.0)

_PATIENCE = 5.0
_NOWHERE = -1


class Topology:
    """The primaries of one store; `refresh` asks for them again.

    `nodes` are targets of one server each, in the order in which `route` and `node_of` number them.
    """

    def __init__(self, target: OnlineTarget, *, patience: float = _PATIENCE) -> None:
        self.target = target
        self._patience = patience
        self.nodes: tuple[OnlineTarget, ...] = ()
        self._owners: Places = np.zeros(SLOTS, np.int64)
        self._turn = 0
        self.refresh()

    @property
    def is_single(self) -> bool:
        """Whether every key is on the one node there is."""
        return len(self.nodes) == 1 and self.target.kind is not StoreKind.CLUSTER

    @property
    def layout(self) -> object:
        """Which server holds which slots: equal to an earlier one where no slot is known to have moved."""
        return self.nodes, self._owners.tobytes()

    def refresh(self) -> None:
        """Ask the store again for its servers: the sentinels for the primary, a cluster for its map.

        Raises:
            OnlineUnreachable: nobody who could tell answers.
            OnlineRefused: the user may not ask.
        """
        if self.target.kind is StoreKind.SENTINEL:
            from featmill.online.sentinel import primary_of

            self.nodes = (primary_of(self.target, timeout=self._patience),)
        elif self.target.kind is StoreKind.CLUSTER:
            self._ask_cluster()
        else:
            self.nodes = (self.target,)

    def route(self, keys: pa.LargeBinaryArray) -> Places:
        """The number of the node that holds each key; keys that are NULL are not allowed.

        Raises:
            SlotsMoved: some key's slot has no node.
        """
        if self.is_single:
            return np.zeros(len(keys), np.int64)
        places: Places = self._owners[key_slots(keys)]
        if (places == _NOWHERE).any():
            raise self._uncovered()
        return places

    def node_of(self, key: bytes) -> int:
        """The number of the node that holds one key.

        Raises:
            SlotsMoved: the key's slot has no node.
        """
        if self.is_single:
            return 0
        place = int(self._owners[key_slot(key)])
        if place == _NOWHERE:
            raise self._uncovered()
        return place

    def _ask_cluster(self) -> None:
        known = [(node.host, node.port) for node in self.nodes]
        turn = self._turn % len(known) if known else 0
        self._turn += 1
        addresses = dict.fromkeys((*known[turn:], *known[:turn], *self.target.hosts))
        problems: list[str] = []
        best: tuple[int, Places, tuple[OnlineTarget, ...]] | None = None
        for host, port in addresses:
            try:
                found = _map_of(self.target, self.target.server(host, port), self._patience)
            except OnlineUnreachable as error:
                problems.append(error.message)
                continue
            covered = int(np.count_nonzero(found[0] != _NOWHERE))
            if best is None or covered > best[0]:
                best = (covered, *found)
            if covered == SLOTS:
                break
        if best is None:
            raise OnlineUnreachable(
                f"no node of {self.target.url} answers: {'; '.join(problems)}",
                hint="name nodes in FEATMILL_REDIS_URL that are up; one is enough",
            )
        _, self._owners, self.nodes = best

    def _uncovered(self) -> OnlineError:
        count = int(np.count_nonzero(self._owners == _NOWHERE))
        return refusal(self.target, f"CLUSTERDOWN {count} of the {SLOTS} slots have no node")


def topology_of(target: OnlineTarget, *, patience: float = _PATIENCE) -> Topology:
    """The servers of a store; `patience` is how long, in seconds, each one is waited for that is asked about them.

    Raises:
        OnlineUnreachable: nobody who could tell answers.
        OnlineRefused: the user may not ask.
    """
    return Topology(target, patience=patience)


def through_moves(topology: Topology, attempt: Callable[[], _T], progress: Callable[[], int]) -> _T:
    """Try again where slots move: every attempt goes on from the journal of the one before.

    Args:
        topology: refreshed before every further attempt.
        attempt: what is tried.
        progress: what the attempts have got to so far, a number that grows; while it does, any number of moves is
            followed, since a cluster of many slots may move them one by one. Without progress the attempts are
            bounded by `PAUSES`, in all some 24 seconds.

    Raises:
        SlotsMoved: the slots have not settled.
    """
    tries, reached = 0, progress()
    while True:
        try:
            return attempt()
        except SlotsMoved:
            now = progress()
            tries, reached = (0, now) if now > reached else (tries, reached)
            if tries == len(PAUSES):
                raise
        time.sleep(PAUSES[tries])
        tries += 1
        topology.refresh()


def cluster_client(target: OnlineTarget, options: dict[str, Any]) -> Redis:
    """redis-py's client of a cluster, which follows moved slots itself; a call waits for nothing else."""
    from redis.backoff import NoBackoff
    from redis.cluster import ClusterNode, RedisCluster
    from redis.retry import Retry

    with translated_errors(target):
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        client: Any = RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 1), **options)
    return client  # type: ignore[no-any-return] # it has the methods of `Redis` that are used here


def _map_of(
    target: OnlineTarget, asked: OnlineTarget, patience: float
) -> tuple[Places, tuple[OnlineTarget, ...]]:
    """The owner of each slot, and the owners, as one node sees them."""
    with translated_errors(asked), asked.connect(timeout=patience) as opened:
        ranges: Any = ask(opened, ["CLUSTER", "SLOTS"])
    if isinstance(ranges, ReplyError):
        raise _no_map(asked, ranges)
    owners: Places = np.full(SLOTS, _NOWHERE, np.int64)
    numbers: dict[tuple[str, int], int] = {}
    for first, last, (name, port, *_), *_ in ranges:
        # A node that does not know its own address, or is told not to say, means the one it was asked at.
        host = name.decode() if name else ""
        address = (asked.host if host in ("", "?") else host, int(port))
        owners[first : last + 1] = numbers.setdefault(address, len(numbers))
    return owners, tuple(target.server(host, port) for host, port in numbers)


def _no_map(asked: OnlineTarget, reply: ReplyError) -> OnlineError:
    if "cluster support disabled" in str(reply):
        return OnlineUnreachable(
            f"{asked.url} is not a cluster: {reply}",
            hint="write redis:// instead of redis+cluster:// for a single server",
        )
    return refusal(asked, reply)
