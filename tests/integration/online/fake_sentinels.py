"""Sentinels that say what a test tells them to: real ones learn the truth too fast."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tests.integration.online.cluster_servers import HOST, SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def sentinels_that_say(*claims: tuple[int, int]) -> Iterator[tuple[list[int], list[int]]]:
    """Sentinels that each name a port and an epoch: their ports, and which were asked so far, in order."""
    asked: list[int] = []
    with ExitStack() as listening:
        ports = []
        for place, (port, epoch) in enumerate(claims):
            listener = listening.enter_context(socket.create_server((HOST, 0)))
            ports.append(listener.getsockname()[1])
            parts = (b"ip", HOST.encode(), b"port", b"%d" % port, b"config-epoch", b"%d" % epoch)
            reply = b"*6\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)
            arguments = (listener, reply, partial(asked.append, place))
            threading.Thread(target=_answer, args=arguments, daemon=True).start()
            listening.callback(listener.shutdown, socket.SHUT_RDWR)
        yield ports, asked


def sentinel_url(ports: list[int], scheme: str = "redis+sentinel", query: str = "") -> str:
    """The URL of a store that these sentinels know."""
    hosts = ",".join(f"{HOST}:{port}" for port in ports)
    return f"{scheme}://{hosts}/{SERVICE}{query}"


def _answer(listener: socket.socket, reply: bytes, note: Callable[[], None]) -> None:
    """Answer PING and the one question, of one connection after the other until the listener is shut."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            while question := connection.recv(1 << 12):
                if b"PING" in question:
                    connection.sendall(b"+PONG\r\n")
                else:
                    note()
                    connection.sendall(reply)
