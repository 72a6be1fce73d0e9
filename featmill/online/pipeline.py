"""Commands in bulk over one raw socket: sent without waiting, replies read as they come.

The socket moves bytes both ways in one loop, so neither side can fill its buffers and wait for the
other. An error reply stops everything: the server refused a write, and going on would leave holes.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any

from featmill.errors import OnlineRefused, OnlineUnreachable
from featmill.online.connection import translated_errors
from featmill.online.row_bytes import bulk

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import pyarrow as pa

    from featmill.online.connection import OnlineTarget
    from featmill.online.plan import ViewPlan
    from featmill.online.row_bytes import Bytes

    OnReply = Callable[[Any], None]

_CHUNK = 1 << 20

#: A server that is silent this long, with commands of ours unanswered, is taken for gone.
_SILENCE = 60.0


class Wire:
    """A socket to the store that moves bytes in whichever direction it can."""

    def __init__(
        self, target: OnlineTarget, *, silence: float = _SILENCE, name: str | None = None
    ) -> None:
        self._target = target
        self._silence = silence
        self._socket = target.connect()
        if name is not None:
            self._introduce(name)
        self._socket.setblocking(False)
        # What the socket holds is what the server has to do while we encode.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._selector.close()
        self._socket.close()

    def exchange(self, outgoing: memoryview) -> tuple[int, bytes]:
        """Wait until the socket can move bytes, then move some.

        Returns:
            How many bytes of `outgoing` went, and what came.

        Raises:
            OnlineUnreachable: the connection broke, or the server was silent for too long.
        """
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if outgoing else 0)
        self._selector.modify(self._socket, events)
        with translated_errors(self._target):
            ready = self._selector.select(self._silence)
            if not ready:
                raise TimeoutError(f"silent for {self._silence:g} s")
            mask = ready[0][1]
            received = self._receive() if mask & selectors.EVENT_READ else b""
            sent = self._send(outgoing) if mask & selectors.EVENT_WRITE else 0
        return sent, received

    def _introduce(self, name: str) -> None:
        """Give the connection the name by which another client can end it; a server may not allow that."""
        from hiredis import Reader

        reader = Reader()
        with translated_errors(self._target):
            self._socket.sendall(
                b"*3\r\n" + bulk(b"CLIENT") + bulk(b"SETNAME") + bulk(name.encode())
            )
            while reader.gets() is False:
                received = self._socket.recv(1 << 12)
                if not received:
                    raise ConnectionResetError("the server closed the connection")
                reader.feed(received)

    def _send(self, outgoing: memoryview) -> int:
        try:
            return self._socket.send(outgoing)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0

    def _receive(self) -> bytes:
        try:
            received = self._socket.recv(_CHUNK)
            # TLS may have decrypted more than was asked for; the selector cannot see that.
            while isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
                received += self._socket.recv(self._socket.pending())
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        if not received:
            raise ConnectionResetError("the server closed the connection")
        return received


class Pipeline:
    """Sends commands whose replies are handed, in order, to the callback each was sent with.

    `window` is how many replies may be outstanding before `send` waits: it bounds the memory that
    unanswered commands take on both sides. `name` is that of every connection to every node; all are
    opened here, so that who has ended them knows that nothing more comes (rule 21).
    """

    def __init__(self, target: OnlineTarget, *, window: int, name: str | None = None) -> None:
        from hiredis import Reader

        self._target = target
        self._window = window
        self._wire = Wire(target, name=name)
        self._reader = Reader()
        self._expected: deque[list[Any]] = deque()
        self._outstanding = 0
        self.sent_bytes = 0

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wire.__exit__(kind, error, trace)

    def send(self, commands: bytes | Bytes, replies: int, on_reply: OnReply | None = None) -> None:
        """Send bytes that hold `replies` commands, without waiting for the answers.

        Raises:
            OnlineRefused: a command, of these or an earlier call, was answered with an error.
            OnlineUnreachable: the connection broke.
        """
        while self._outstanding > self._window:
            self._step(memoryview(b""))
        self._expected.append([replies, on_reply])
        self._outstanding += replies
        rest = memoryview(commands) if isinstance(commands, bytes) else commands.data
        self.sent_bytes += rest.nbytes
        while rest:
            rest = rest[self._step(rest) :]

    def send_rows(
        self,
        plan: ViewPlan,  # noqa: ARG002 - what the rows' keys are made of, which says their nodes
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
            OnlineUnreachable: the connection broke.
        """
        self.send(encode(rows), rows.num_rows * replies_per_row, on_reply)

    def send_keys(
        self,
        keys: pa.LargeBinaryArray,
        encode: Callable[[pa.LargeBinaryArray], Bytes],
        on_reply: OnReply | None = None,
        *,
        replies_per_key: int = 1,
    ) -> None:
        """As `send_rows`, of bare Redis keys."""
        self.send(encode(keys), len(keys) * replies_per_key, on_reply)

    def send_key(
        self,
        key: bytes,  # noqa: ARG002 - says the node
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
                so a journal's mark can only be there if what it counts is.

        Raises:
            OnlineRefused: a command, of these or an earlier call, was answered with an error.
            OnlineUnreachable: the connection broke.
        """
        if after_all:
            self.finish()
        self.send(commands, replies, on_reply)

    def finish(self) -> None:
        """Wait for the reply of everything sent.

        Raises:
            OnlineRefused: a command was answered with an error.
            OnlineUnreachable: the connection broke.
        """
        while self._outstanding:
            self._step(memoryview(b""))

    def _step(self, outgoing: memoryview) -> int:
        sent, received = self._wire.exchange(outgoing)
        if received:
            self._reader.feed(received)
            self._take_replies()
        return sent

    def _take_replies(self) -> None:
        from hiredis import ReplyError

        while (reply := self._reader.gets()) is not False:
            if isinstance(reply, ReplyError):
                raise refusal(self._target, reply)
            if not self._expected:
                raise OnlineUnreachable(
                    f"{self._target.url} sent a reply that nothing had asked for"
                )
            entry = self._expected[0]
            if entry[1] is not None:
                entry[1](reply)
            entry[0] -= 1
            self._outstanding -= 1
            if entry[0] == 0:
                self._expected.popleft()


def refusal(target: OnlineTarget, reply: Exception) -> OnlineRefused:
    """The error for an error reply, with what to do about the usual ones."""
    word = str(reply).partition(" ")[0]
    hints = {
        "OOM": "raise the server's maxmemory, or export fewer tables",
        "READONLY": "point FEATMILL_REDIS_URL at the primary, not at a replica",
        "NOAUTH": "put the user and password into FEATMILL_REDIS_URL",
        "NOPERM": "grant the user HSET, HDEL, HGET, HKEYS, HMGET, HEXISTS and SCAN",
        "LOADING": "wait until the server has loaded its data, then run the command again",
        "MISCONF": "look at the server's log: it cannot write to its disk",
        "MOVED": "a Redis Cluster is not supported: use a server without cluster mode",
    }
    return OnlineRefused(f"{target.url} refused a command: {reply}", hint=hints.get(word))
