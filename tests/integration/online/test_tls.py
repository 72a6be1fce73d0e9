"""TLS handshakes for every kind of store; a refused one says which side distrusts what."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from urllib.parse import quote

import pytest
import trustme

from featmill.errors import OnlineUnreachable, SettingError
from featmill.online.connection import OnlineTarget, translated_errors
from featmill.online.topology import topology_of
from tests.integration.online.cluster_servers import running_cluster, wait_until
from tests.integration.online.fake_sentinels import sentinel_url, sentinels_that_say
from tests.integration.online.publications import export, snapshot, verify
from tests.integration.online.tls_front import tls_front

pytestmark = pytest.mark.redis


class Files:
    """An authority and certificates of it, as files."""

    def __init__(self, directory):
        self.authority = trustme.CA()
        self.ca = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self._directory = directory

    def client(self, authority, name):
        """The options of a client that shows a certificate which `authority` signed."""
        cert = authority.issue_cert(f"{name}@example.com")
        path = self._directory / f"{name}.pem"
        cert.private_key_and_cert_chain_pem.write_to_path(str(path))
        return f"ssl_certfile={quote(str(path))}&ssl_keyfile={quote(str(path))}"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("certificates"))


def url_of(front, files, host="localhost", more=""):
    return f"rediss://{host}:{front.port}/0?ssl_ca_certs={files.ca}{more}"


def both_ways(target):
    """The errors of the raw socket and of redis-py's client."""
    with pytest.raises(OnlineUnreachable) as raw:
        target.connect().close()
    with (
        pytest.raises(OnlineUnreachable) as client,
        translated_errors(target),
        target.client() as opened,
    ):
        opened.ping()
    return raw.value, client.value


def test_tls_carries_exports_and_comparisons(store, files):
    with tls_front(files.authority, store) as front:
        target = OnlineTarget.from_url(url_of(front, files))

        export(target, snapshot(30_000))

        assert verify(target, snapshot(30_000)).is_equal
        assert verify(target, snapshot(30_000, day=1)).total_differences > 30_000


def test_a_certificate_for_an_address_serves_an_address(store, files):
    with tls_front(files.authority, store) as front:
        OnlineTarget.from_url(url_of(front, files, host="127.0.0.1")).connect().close()


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_ipv6_addresses_speak_tls(store, files):
    try:
        front = tls_front(files.authority, store, "::1", host="::1")
        with front as opened:
            target = OnlineTarget.from_url(url_of(opened, files, host="[::1]"))
            export(target, snapshot(10))
    except OSError:
        pytest.skip("no IPv6 loopback here")
    assert verify(store, snapshot(10)).is_equal


def test_an_authority_that_is_not_ours_is_named(store, files):
    with tls_front(trustme.CA(), store) as front:
        for error in both_ways(OnlineTarget.from_url(url_of(front, files))):
            assert "certificate verify failed: the server's certificate is not trusted" in str(
                error
            )
            assert "ssl_ca_certs" in error.hint
        unchecked = f"rediss://localhost:{front.port}?ssl_cert_reqs=none"
        OnlineTarget.from_url(unchecked).connect().close()


def test_a_certificate_for_another_host_is_named(store, files):
    with tls_front(files.authority, store, "other.example.com") as front:
        for error in both_ways(OnlineTarget.from_url(url_of(front, files))):
            assert "the server's certificate is not for its host name" in str(error)
            assert "not valid for 'localhost'" in str(error)
            assert "ssl_check_hostname=false" in error.hint
        unchecked = OnlineTarget.from_url(url_of(front, files, more="&ssl_check_hostname=false"))
        unchecked.connect().close()
        with unchecked.client() as client:
            assert client.ping()


def test_a_missing_client_certificate_is_named_and_one_is_shown(store, files):
    with tls_front(files.authority, store, clients=files.authority) as front:
        for error in both_ways(OnlineTarget.from_url(url_of(front, files))):
            assert "wants a client certificate" in str(error)
            assert "ssl_certfile" in error.hint
        known = files.client(files.authority, "known")
        target = OnlineTarget.from_url(url_of(front, files, more=f"&{known}"))
        export(target, snapshot(100))
        assert verify(target, snapshot(100)).is_equal


def test_a_client_certificate_that_the_server_does_not_know_is_named(store, files):
    foreign = files.client(trustme.CA(), "foreign")
    with tls_front(files.authority, store, clients=files.authority) as front:
        for error in both_ways(OnlineTarget.from_url(url_of(front, files, more=f"&{foreign}"))):
            assert "does not trust the client's certificate" in str(error)
            assert "ssl_certfile" in error.hint


def test_a_server_without_tls_is_told_from_one_with(embedded, files):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        plain = OnlineTarget.from_url(f"rediss://localhost:{port}?ssl_ca_certs={files.ca}")
        thread = threading.Thread(target=speak_resp, args=(listener,), daemon=True)
        thread.start()
        with pytest.raises(OnlineUnreachable, match="does not speak TLS there"):
            plain.connect()
        thread.join(10)


def speak_resp(listener):
    """Answer as a server without TLS does what it takes for a command."""
    accepted, _ = listener.accept()
    with accepted:
        accepted.recv(1 << 12)
        accepted.sendall(b"-ERR Protocol error: unauthenticated multibulk length\r\n")


def test_a_file_that_is_not_there_is_named(files):
    target = OnlineTarget.from_url("rediss://localhost:1?ssl_ca_certs=/nowhere/ca.pem")

    with pytest.raises(SettingError, match=r"ssl_ca_certs /nowhere/ca\.pem"):
        target.connect()
    with pytest.raises(SettingError, match=r"ssl_ca_certs /nowhere/ca\.pem"):
        target.client()


@pytest.mark.xdist_group("cluster")
def test_every_node_of_a_cluster_speaks_tls(tmp_path, files):
    """The nodes announce the names and ports of their fronts, as they do behind a proxy."""
    with ExitStack() as opened:
        fronts = [opened.enter_context(tls_front(files.authority, None)) for _ in range(3)]
        ports = [front.port for front in fronts]
        cluster = opened.enter_context(running_cluster(tmp_path, announced=ports))
        for front, server in zip(fronts, cluster.primaries, strict=True):
            front.inner = server.target()
        target = OnlineTarget.from_url(
            f"rediss+cluster://localhost:{ports[0]}?ssl_ca_certs={files.ca}"
        )
        wait_until(lambda: knows(target, ports), "every node's own port is announced")

        export(target, snapshot(3_000))

        assert verify(target, snapshot(3_000)).is_equal
        for server in cluster.primaries:
            with server.client() as client:
                assert client.dbsize() > 900
        with target.client() as client:
            assert len(list(client.scan_iter(count=1_000))) == 3_001


def knows(target, ports):
    """Whether the map names exactly the announced ports."""
    return sorted(node.port for node in topology_of(target).nodes) == sorted(ports)


def test_sentinels_and_primary_each_with_or_without_tls(store, files):
    query = f"?ssl_ca_certs={quote(str(files.ca))}"
    with (
        tls_front(files.authority, store) as front,
        sentinels_that_say((front.port, 1)) as ((port,), _),
    ):
        plain = sentinel_url([port], "rediss+sentinel", f"{query}&sentinel_ssl=false")
        export(OnlineTarget.from_url(plain), snapshot(10))
        fake = OnlineTarget.from_url(sentinel_url([port])).sentinel("127.0.0.1", port)
        with tls_front(files.authority, fake) as watcher:
            secure = sentinel_url([watcher.port], "rediss+sentinel", query)
            assert verify(OnlineTarget.from_url(secure), snapshot(10)).is_equal
