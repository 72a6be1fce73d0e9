"""The nodes the asynchronous reader reads from: one channel to each."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from featmill.errors import FeatmillError
from featmill.online.connection import StoreKind
from featmill.serving.store.channel import Channel
from featmill.serving.store.failures import SlotMoved, StoreLost
from featmill.serving.store.patience import ASKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from featmill.online.connection import OnlineTarget
    from featmill.online.topology import Topology
    from featmill.serving.store.commands import Part
    from featmill.serving.store.watch import Watch

#: Seconds between two looks at a store whose nodes nobody could name.
_PAUSE = 0.1


class Channels:
    """A channel to each node, in the order in which `router` numbers them."""

    def __init__(self, target: OnlineTarget, watch: Watch) -> None:
        self._target = target
        self._watch = watch
        self._topology: Topology | None = None
        self._known: dict[str, Channel] = {}
        self._channels: list[Channel] = []
        self._asking: asyncio.Task[None] | None = None
        self._problem = ""
        self.router: Callable[[bytes], int] | None = None

    async def exchange(self, parts: Sequence[Part], deadline: float) -> list[list[Any]]:
        """Send each part to its node and wait for all replies; without parts the nodes are asked for again.

        Raises:
            StoreLost: not everything was answered by `deadline`, in the loop's time.
        """
        if not parts or not self._channels:
            await self.refresh(deadline)
        if not parts:
            return []
        try:
            return await self._exchange(parts, deadline)
        except StoreLost as lost:
            if self._target.kind is StoreKind.SINGLE or not lost.counts:
                raise
            # The primary may be another by now; whoever asks next shall know.
            self._ask_again()
            if lost.reason == "unreachable":
                raise SlotMoved(lost.reason, lost.problem) from lost
            raise

    async def _exchange(self, parts: Sequence[Part], deadline: float) -> list[list[Any]]:
        channels = self._channels
        if len(parts) == 1 and parts[0].node < len(channels):
            part = parts[0]
            return [await channels[part.node].exchange(part.payload, part.replies, deadline)]
        if any(part.node >= len(channels) for part in parts):
            raise SlotMoved("unreachable", "the cluster has other nodes than a moment ago")
        return await asyncio.gather(
            *(channels[p.node].exchange(p.payload, p.replies, deadline) for p in parts)
        )

    async def refresh(self, deadline: float) -> None:
        """Ask again which nodes there are.

        Raises:
            StoreLost: nobody said so in time.
        """
        asking = self._ask_again()
        left = deadline - asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asking), max(0.0, left))
        if not asking.done():
            raise StoreLost("deadline", f"{self._target.url}: its nodes were not named in time")
        if not self._channels:
            raise StoreLost("unreachable", self._problem)

    async def close(self) -> None:
        """Close every connection."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError):
                await self._asking
        for channel in self._known.values():
            await channel.close()

    def _ask_again(self) -> asyncio.Task[None]:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return self._asking

    async def _ask(self) -> None:
        from featmill.online.topology import topology_of

        try:
            topology = self._topology
            if topology is not None:
                await asyncio.to_thread(topology.refresh)
            elif self._target.kind is StoreKind.SINGLE:
                topology = topology_of(self._target)
            else:
                topology = await asyncio.to_thread(topology_of, self._target, patience=ASKING)
        except (FeatmillError, OSError) as error:
            self._problem = str(error)
            # Whoever comes meanwhile waits for this answer instead of asking the same again.
            await asyncio.sleep(_PAUSE)
            return
        await self._take(topology)

    def _channel(self, node: OnlineTarget) -> Channel:
        return Channel(node, self._watch)

    async def _take(self, topology: Topology) -> None:
        known, self._known = self._known, {}
        for node in topology.nodes:
            self._known[node.url] = (
                known.pop(node.url) if node.url in known else self._channel(node)
            )
        self._topology = topology
        self.router = None if topology.is_single else topology.node_of
        self._channels = [self._known[node.url] for node in topology.nodes]
        for gone in known.values():
            await gone.close()
