"""Commands in bulk over raw sockets: sent without waiting, replies read as they come.

Each row's commands go to the server that holds its key; every server has a queue and a bounded window of its own, and
one loop serves them all. An error reply stops everything: the server refused a write, and going on would leave holes.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from featmill.errors import OnlineError, OnlineUnreachable
from featmill.online.refusals import error_within, refusal, translated_errors
from featmill.online.store_url import host_port
from featmill.online.topology import Topology, topology_of
from featmill.online.wires import Wire, Wires

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from featmill.online.connection import OnlineTarget
    from featmill.online.plan import ViewPlan
    from featmill.online.row_bytes import Bytes

    OnReply = Callable[[Any], None]

__all__ = ["Pipeline", "Wire", "refusal"]

#: Bytes that may wait for servers that are slow to take them, in all: what one of them is behind the others.
_BACKLOG = 32 << 20

_NOTHING = memoryview(b"")

_Rows = TypeVar("_Rows", pa.RecordBatch, pa.LargeBinaryArray)


class Pipeline:
    """Sends commands whose replies are handed to the callback each was sent with.

    `window` is how many replies of one server may be outstanding before a call waits: it bounds the memory that
    unanswered commands take on both sides. The replies of one server come in order.
    """

    def __init__(
        self, target: OnlineTarget, *, window: int, topology: Topology | None = None
    ) -> None:
        self._window = window
        # A copy: the topology may be refreshed meanwhile, and its numbers then mean other nodes.
        self._topology = copy(topology_of(target) if topology is None else topology)
        self._wires = Wires(self._topology.nodes)
        self._lanes = [_Lane(node) for node in self._topology.nodes]
        self._deferred: deque[_Deferred] = deque()
        self._backlog = _BACKLOG // len(self._lanes) if len(self._lanes) > 1 else 0
        self.sent_bytes = 0

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wires.close()

    def send(self, commands: bytes | Bytes, replies: int, on_reply: OnReply | None = None) -> None:
        """Send bytes that hold `replies` commands to the one server there is.

        Raises:
            OnlineError: the store is a cluster, and the commands' keys are not known here.
            OnlineRefused: a command, of these or an earlier call, was answered with an error.
            OnlineUnreachable: the connection broke.
        """
        if not self._topology.is_single:
            raise OnlineError(
                f"{self._topology.target.url} is a cluster: commands need the keys they are about"
            )
        self._put(0, commands, replies, on_reply)
        self._flush()

    def send_rows(
        self,
        plan: ViewPlan,
        rows: pa.RecordBatch,
        encode: Callable[[pa.RecordBatch], Bytes],
        on_reply: OnReply | None = None,
        *,
        replies_per_row: int = 1,
    ) -> None:
        """Send what `encode` makes of rows, each row's commands to the node that holds its key.

        Args:
            plan: the rows' view.
            rows: the rows; in a cluster they are encoded in several parts.
            encode: gives `replies_per_row` commands a row, in the rows' order.
            on_reply: given each reply; the order among rows of different nodes is not theirs.
            replies_per_row: how many replies each row's commands have.

        Raises:
            OnlineRefused: a command, of these or an earlier call, was answered with an error.
            OnlineUnreachable: a connection broke; `SlotsMoved`: a key is on another node now.
        """
        from featmill.online.codec import redis_keys

        keys = None if self._topology.is_single else redis_keys(plan, rows)
        for place, part in _parts(self._topology, keys, rows):
            self._put(place, encode(part), part.num_rows * replies_per_row, on_reply)
        self._flush()

    def send_keys(
        self,
        keys: pa.LargeBinaryArray,
        encode: Callable[[pa.LargeBinaryArray], Bytes],
        on_reply: OnReply | None = None,
        *,
        replies_per_key: int = 1,
    ) -> None:
        """As `send_rows`, of bare Redis keys."""
        for place, part in _parts(self._topology, keys, keys):
            self._put(place, encode(part), len(part) * replies_per_key, on_reply)
        self._flush()

    def send_key(
        self,
        key: bytes,
        commands: bytes,
        replies: int,
        on_reply: OnReply | None = None,
        *,
        after_all: bool = False,
    ) -> None:
        """Send commands about one key to the node that holds it.

        Args:
            key: the Redis key.
            commands: RESP bytes of the commands.
            replies: how many replies they have.
            on_reply: given each reply, in order.
            after_all: only once every node has answered all that was sent before, without an error:
                so a journal's mark can only be there if what it counts is. What is sent after it
                does not wait for it.

        Raises:
            OnlineRefused: a command, of these or an earlier call, was answered with an error.
            OnlineUnreachable: a connection broke; `SlotsMoved`: the key is on another node now.
        """
        place = self._topology.node_of(key)
        if after_all:
            needs = tuple(lane.asked for lane in self._lanes)
            self._deferred.append(_Deferred(place, commands, replies, on_reply, needs))
            self._release()
        else:
            self._put(place, commands, replies, on_reply)
        self._flush()

    def finish(self) -> None:
        """Wait for the reply of everything sent.

        Raises:
            OnlineRefused: a command was answered with an error.
            OnlineUnreachable: a connection broke.
        """
        while self._deferred or any(lane.outstanding for lane in self._lanes):
            self._step()

    def client_ids(self) -> dict[str, int]:
        """The server's number of each of our connections, by the server's address: `CLIENT KILL` takes it.

        Raises:
            OnlineRefused: the user may not ask.
            OnlineUnreachable: a connection broke.
        """
        found: dict[str, int] = {}
        for place, lane in enumerate(self._lanes):
            note = partial(found.__setitem__, node_name(lane.target))
            self._put(place, _CLIENT_ID, 1, note)
        self.finish()
        return found

    def _put(
        self, place: int, commands: bytes | Bytes, replies: int, on_reply: OnReply | None
    ) -> None:
        lane = self._lanes[place]
        while lane.outstanding > self._window:
            self._step()
        self._queue(lane, commands, replies, on_reply)

    def _queue(
        self, lane: _Lane, commands: bytes | Bytes, replies: int, on_reply: OnReply | None
    ) -> None:
        data = memoryview(commands) if isinstance(commands, bytes) else commands.data
        self.sent_bytes += data.nbytes
        lane.put(data, replies, on_reply)

    def _flush(self) -> None:
        """Let go what the servers take now; what they do not stays queued up to a bound."""
        if len(self._lanes) > 1:
            self._step(wait=False)
        while any(lane.queued > self._backlog for lane in self._lanes):
            self._step()

    def _step(self, *, wait: bool = True) -> None:
        heads = [lane.head for lane in self._lanes]
        for place, sent, received in self._wires.exchange(heads, wait=wait):
            lane = self._lanes[place]
            lane.take_sent(sent)
            if received:
                lane.hear(received)
        self._release()

    def _release(self) -> None:
        """Queue what waited for replies that have all come."""
        while self._deferred:
            first = self._deferred[0]
            answered = zip(self._lanes, first.needs, strict=True)
            if any(lane.answered < need for lane, need in answered):
                return
            self._deferred.popleft()
            self._queue(self._lanes[first.place], first.commands, first.replies, first.on_reply)


class _Deferred:
    """Commands that wait until every lane has answered as many replies as `needs` says."""

    def __init__(
        self,
        place: int,
        commands: bytes,
        replies: int,
        on_reply: OnReply | None,
        needs: tuple[int, ...],
    ) -> None:
        self.place = place
        self.commands = commands
        self.replies = replies
        self.on_reply = on_reply
        self.needs = needs


class _Lane:
    """What is on its way to one server, and what it has to answer."""

    def __init__(self, target: OnlineTarget) -> None:
        from hiredis import Reader

        self.target = target
        self.asked = self.answered = self.queued = 0
        self._reader = Reader()
        self._queue: deque[memoryview] = deque()
        self._expected: deque[list[Any]] = deque()

    @property
    def outstanding(self) -> int:
        """How many replies have not come."""
        return self.asked - self.answered

    @property
    def head(self) -> memoryview:
        """What to send next."""
        return self._queue[0] if self._queue else _NOTHING

    def put(self, data: memoryview, replies: int, on_reply: OnReply | None) -> None:
        if data:
            self._queue.append(data)
            self.queued += data.nbytes
        if replies:
            self._expected.append([replies, on_reply])
            self.asked += replies

    def take_sent(self, sent: int) -> None:
        if sent:
            rest = self._queue[0][sent:]
            self.queued -= sent
            if rest:
                self._queue[0] = rest
            else:
                self._queue.popleft()

    def hear(self, received: bytes) -> None:
        with translated_errors(self.target):
            self._reader.feed(received)
            while (reply := self._reader.gets()) is not False:
                self._take(reply)

    def _take(self, reply: Any) -> None:  # noqa: ANN401 - what hiredis makes of a reply
        if type(reply) is not int:
            error = error_within(reply)
            if error is not None:
                raise refusal(self.target, error)
        if not self._expected:
            raise OnlineUnreachable(f"{self.target.url} sent a reply that nothing had asked for")
        entry = self._expected[0]
        self.answered += 1
        entry[0] -= 1
        if entry[0] == 0:
            self._expected.popleft()
        if entry[1] is not None:
            entry[1](reply)


_CLIENT_ID = b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n"


def node_name(node: OnlineTarget) -> str:
    """What tells one server of a store from another."""
    return host_port(node.host, node.port) if node.socket_path is None else node.socket_path


def _parts(
    topology: Topology, keys: pa.LargeBinaryArray | None, rows: _Rows
) -> Iterator[tuple[int, _Rows]]:
    """What of `rows`, a batch or an array that `keys` go with, each node holds; in their order."""
    if keys is None or topology.is_single:
        yield 0, rows
        return
    places = topology.route(keys)
    for place in np.flatnonzero(np.bincount(places)).tolist():
        chosen = np.flatnonzero(places == place)
        yield place, rows if len(chosen) == len(places) else rows.take(pa.array(chosen))
