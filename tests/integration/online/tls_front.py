"""TLS before a server that has none: a real handshake, then bytes both ways."""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme

    from featmill.online.connection import OnlineTarget


class TlsFront:
    """Listens at a port of loopback and carries what it is sent to `inner`, a store without TLS."""

    def __init__(self, context: ssl.SSLContext, host: str = "127.0.0.1") -> None:
        self.inner: OnlineTarget | None = None
        self._context = context
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._start(self._accept)

    def close(self) -> None:
        """Stop listening, and end what is connected."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(accepted)
            self._start(self._carry, accepted)

    def _carry(self, accepted: socket.socket) -> None:
        try:
            with accepted, self._context.wrap_socket(accepted, server_side=True) as outer:
                self._open.add(outer)
                # In TLS 1.3 a client that lacks a certificate is refused at the first read.
                outer.read(0)
                with self.inner.connect() as inner:
                    relay(outer, inner)
        except (ssl.SSLError, OSError):
            return


def relay(outer: ssl.SSLSocket, inner: socket.socket) -> None:
    """Carry bytes until either side leaves; half-duplex suffices, since both sides always read."""
    with selectors.DefaultSelector() as selector:
        selector.register(outer, selectors.EVENT_READ, inner)
        selector.register(inner, selectors.EVENT_READ, outer)
        while True:
            for ready, _ in selector.select():
                data = ready.fileobj.recv(1 << 14)
                while isinstance(ready.fileobj, ssl.SSLSocket) and ready.fileobj.pending():
                    data += ready.fileobj.recv(ready.fileobj.pending())
                if not data:
                    return
                ready.data.sendall(data)


@contextmanager
def tls_front(
    authority: trustme.CA,
    inner: OnlineTarget | None,
    *names: str,
    clients: trustme.CA | None = None,
    host: str = "127.0.0.1",
) -> Iterator[TlsFront]:
    """A front whose certificate `authority` signed for `names`; it asks for one of `clients`, if given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    front = TlsFront(context, host)
    front.inner = inner
    try:
        yield front
    finally:
        front.close()
