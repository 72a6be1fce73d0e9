"""The raw socket and redis-py reach the same store: with passwords, databases and TLS."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from dataclasses import replace

import pytest

from featmill.errors import OnlineUnreachable
from featmill.online.connection import OnlineTarget
from featmill.online.pipeline import Pipeline, Wire
from tests.integration.online.publications import export, snapshot, verify

pytestmark = pytest.mark.redis


def test_another_database_is_another_store(store):
    other = replace(store, db=3)

    export(other, snapshot(10))

    assert verify(other, snapshot(10)).is_equal
    assert verify(store, snapshot(10)).total_differences == 10


def test_users_and_passwords_open_the_store(store):
    with store.client() as client:
        client.acl_setuser(
            "writer", enabled=True, passwords=["+p w"], keys=["*"], commands=["+@all"]
        )
    named = replace(store, username="writer", password="p w")

    export(named, snapshot(10))

    assert verify(named, snapshot(10)).is_equal
    for wrong in (replace(named, password="no"), replace(named, username="nobody")):
        with pytest.raises(OnlineUnreachable, match="refused AUTH: WRONGPASS"):
            wrong.connect()
        with pytest.raises(OnlineUnreachable, match="refused the login"):
            verify(wrong, snapshot(10))


def test_a_database_that_does_not_exist_is_refused(store):
    with pytest.raises(OnlineUnreachable, match="refused SELECT"):
        replace(store, db=99).connect()


def test_a_silent_server_is_not_waited_for_forever():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = OnlineTarget(host="127.0.0.1", port=listener.getsockname()[1])
        with pytest.raises(OnlineUnreachable, match="timed out"):
            silent.connect(timeout=0.05)


def test_a_server_that_falls_silent_is_unreachable(store):
    with (
        Wire(store, silence=0.05) as wire,
        pytest.raises(OnlineUnreachable, match=r"silent for 0.05"),
    ):
        wire.exchange(memoryview(b""))


def test_a_reply_to_nothing_is_an_error(store):
    ping = b"*1\r\n$4\r\nPING\r\n"

    def talk():
        with Pipeline(store, window=1) as pipeline:
            pipeline.send(ping + ping, 1)
            pipeline.finish()
            pipeline.send(ping, 1)
            pipeline.finish()
            pipeline.finish()

    with pytest.raises(OnlineUnreachable, match="nothing had asked"):
        talk()


@pytest.fixture
def tls(store, tmp_path):
    """A port that speaks TLS and hands on to the store, and its certificate."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener, context, store), daemon=True)
        thread.start()
        yield listener.getsockname()[1], certificate
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def serve(listener, context, store):
    """Accept until the listener is closed."""
    while True:
        try:
            accepted, _ = listener.accept()
        except OSError:
            return
        relay(accepted, context, store.connect())


def relay(accepted, context, inner):
    """Carry bytes between a TLS client and the store until either leaves; half-duplex suffices."""
    import selectors

    with inner, accepted, selectors.DefaultSelector() as selector:
        try:
            outer = context.wrap_socket(accepted, server_side=True)
        except (ssl.SSLError, OSError):
            return
        with outer:
            selector.register(outer, selectors.EVENT_READ, inner)
            selector.register(inner, selectors.EVENT_READ, outer)
            while True:
                for ready, _ in selector.select():
                    try:
                        data = ready.fileobj.recv(1 << 14)
                        while isinstance(ready.fileobj, ssl.SSLSocket) and ready.fileobj.pending():
                            data += ready.fileobj.recv(ready.fileobj.pending())
                        ready.data.sendall(data)
                    except OSError:
                        return
                    if not data:
                        return


def test_tls_carries_exports_and_comparisons(tls):
    port, certificate = tls
    target = OnlineTarget.from_url(f"rediss://localhost:{port}?ssl_ca_certs={certificate}")

    export(target, snapshot(30_000))

    assert verify(target, snapshot(30_000)).is_equal
    assert verify(target, snapshot(30_000, day=1)).total_differences > 30_000


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_told(tls):
    port, _ = tls
    strict = OnlineTarget.from_url(f"rediss://localhost:{port}")

    with pytest.raises(OnlineUnreachable, match="certificate verify failed"):
        strict.connect()
    OnlineTarget.from_url(f"rediss://localhost:{port}?ssl_cert_reqs=none").connect().close()
