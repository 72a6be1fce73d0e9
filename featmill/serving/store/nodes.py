"""The nodes a blocking reader reads from, and its connections to them.

Sentinels and clusters are asked by a thread of its own which nodes there are, so that no request waits longer for the
answer than its deadline.
"""

from __future__ import annotations

import time
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from featmill.errors import FeatmillError
from featmill.online.connection import StoreKind
from featmill.serving.store.failures import SlotMoved, StoreLost
from featmill.serving.store.links import Links, exchange
from featmill.serving.store.patience import ASKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from featmill.online.connection import OnlineTarget
    from featmill.online.topology import Topology
    from featmill.serving.store.commands import Part


class Nodes:
    """The connections to each node, in the order in which `router` numbers them."""

    def __init__(self, target: OnlineTarget) -> None:
        self._target = target
        self._topology: Topology | None = None
        self._known: dict[str, Links] = {}
        self._links: list[Links] = []
        self._lock = Lock()
        self._asked = Event()
        self._is_asking = False
        self._problem = ""
        self.router: Callable[[bytes], int] | None = None

    def exchange(self, parts: Sequence[Part], deadline: float) -> list[list[Any]]:
        """Send, and wait for the replies; without parts the nodes are asked for again.

        Raises:
            StoreLost: not everything was answered in time.
        """
        if not parts or not self._links:
            self.refresh(deadline)
        if not parts:
            return []
        links = self._links
        if any(part.node >= len(links) for part in parts):
            raise SlotMoved("unreachable", "the cluster has other nodes than a moment ago")
        try:
            return exchange(links, tuple(parts), deadline)
        except StoreLost as lost:
            if self._target.kind is StoreKind.SINGLE or not lost.counts:
                raise
            # The primary may be another by now; whoever asks next shall know.
            self._start()
            if lost.reason == "unreachable":
                raise SlotMoved(lost.reason, lost.problem) from lost
            raise

    def refresh(self, deadline: float) -> None:
        """Ask again which nodes there are.

        Raises:
            StoreLost: nobody said so in time.
        """
        if self._target.kind is StoreKind.SINGLE:
            self._ask()
        else:
            asked = self._start()
            if not asked.wait(max(0.0, deadline - time.monotonic())):
                raise StoreLost("deadline", f"{self._target.url}: its nodes were not named in time")
        if not self._links:
            raise StoreLost("unreachable", self._problem)

    def close(self) -> None:
        """Close every connection."""
        for links in self._known.values():
            links.close()

    def _start(self) -> Event:
        with self._lock:
            if not self._is_asking:
                self._is_asking = True
                self._asked = Event()
                Thread(target=self._ask, name="featmill-nodes", daemon=True).start()
            return self._asked

    def _ask(self) -> None:
        from featmill.online.topology import topology_of

        try:
            topology = self._topology
            if topology is None:
                topology = topology_of(self._target, patience=ASKING)
            else:
                topology.refresh()
            self._take(topology)
        except (FeatmillError, OSError) as error:
            self._problem = str(error)
        finally:
            with self._lock:
                self._is_asking = False
                self._asked.set()

    def _take(self, topology: Topology) -> None:
        known, self._known = self._known, {}
        for node in topology.nodes:
            self._known[node.url] = known.pop(node.url) if node.url in known else Links(node)
        self._topology = topology
        self.router = None if topology.is_single else topology.node_of
        self._links = [self._known[node.url] for node in topology.nodes]
        for gone in known.values():
            gone.close()
