"""Raw sockets to the servers of a store: one loop moves whatever bytes can move, in either direction.

So neither side can fill its buffers and wait for the other, and a server that is slow holds up no other.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from typing import TYPE_CHECKING

from featmill.online.refusals import translated_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from featmill.online.connection import OnlineTarget

_CHUNK = 1 << 20

#: A server that is silent this long, with commands of ours unanswered, is taken for gone.
SILENCE = 60.0


class Wires:
    """One socket to each of some servers."""

    def __init__(self, nodes: Sequence[OnlineTarget], *, silence: float = SILENCE) -> None:
        self._silence = silence
        self._selector = selectors.DefaultSelector()
        self._channels: list[_Channel] = []
        try:
            for node in nodes:
                channel = _Channel(node)
                self._channels.append(channel)
                place = len(self._channels) - 1
                self._selector.register(channel.socket, selectors.EVENT_READ, place)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Wires:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every socket."""
        self._selector.close()
        for channel in self._channels:
            channel.socket.close()

    def exchange(
        self, outgoing: Sequence[memoryview], *, wait: bool = True
    ) -> list[tuple[int, int, bytes]]:
        """Wait until some socket can move bytes, then move some wherever it can.

        Args:
            outgoing: what to send to each server, in their order.
            wait: if not, only what can move at once is moved.

        Returns:
            For each server that moved any: its place, how many bytes of its `outgoing` went, and what came.

        Raises:
            OnlineUnreachable: a connection broke, or every server was silent for too long.
        """
        for place, (channel, data) in enumerate(zip(self._channels, outgoing, strict=True)):
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if data else 0)
            if events != channel.events:
                self._selector.modify(channel.socket, events, place)
                channel.events = events
        ready = self._selector.select(self._silence if wait else 0)
        if wait and not ready:
            oldest = min(self._channels, key=lambda channel: channel.heard_at)
            with translated_errors(oldest.target):
                raise TimeoutError(f"silent for {self._silence:g} s")
        moved: list[tuple[int, int, bytes]] = []
        for key, mask in ready:
            place = key.data
            sent, received = self._channels[place].move(mask, outgoing[place])
            moved.append((place, sent, received))
        return moved


class Wire:
    """A socket to one server."""

    def __init__(self, target: OnlineTarget, *, silence: float = SILENCE) -> None:
        self._wires = Wires([target], silence=silence)

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wires.close()

    def exchange(self, outgoing: memoryview) -> tuple[int, bytes]:
        """As `Wires.exchange`: how many bytes of `outgoing` went, and what came."""
        _, sent, received = self._wires.exchange([outgoing])[0]
        return sent, received


class _Channel:
    def __init__(self, target: OnlineTarget) -> None:
        self.target = target
        self.socket = target.connect()
        self.socket.setblocking(False)
        # What the socket holds is what the server has to do while we encode.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)
        self.events = selectors.EVENT_READ
        self.heard_at = time.monotonic()

    def move(self, mask: int, outgoing: memoryview) -> tuple[int, bytes]:
        with translated_errors(self.target):
            received = self._receive() if mask & selectors.EVENT_READ else b""
            sent = self._send(outgoing) if mask & selectors.EVENT_WRITE else 0
        if received:
            self.heard_at = time.monotonic()
        return sent, received

    def _send(self, outgoing: memoryview) -> int:
        try:
            return self.socket.send(outgoing)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0

    def _receive(self) -> bytes:
        try:
            received = self.socket.recv(_CHUNK)
            # TLS may have decrypted more than was asked for; the selector cannot see that.
            while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
                received += self.socket.recv(self.socket.pending())
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        if not received:
            raise ConnectionResetError("the server closed the connection")
        return received
