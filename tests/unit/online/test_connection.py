"""A Redis URL becomes a target, with its password in no message."""

from __future__ import annotations

import socket

import pytest

from featmill.errors import OnlineUnreachable, SettingError
from featmill.online.connection import OnlineTarget
from tests.unit.online.tables import feast


@pytest.mark.parametrize(
    ("url", "target", "shown"),
    [
        ("redis://", OnlineTarget(), "redis://localhost:6379/0"),
        (
            "redis://:p%2Cw@h:1/2",
            OnlineTarget(host="h", port=1, db=2, password="p,w"),
            "redis://:***@h:1/2",
        ),
        (
            "rediss://u:p@[::1]:3?ssl_cert_reqs=none",
            OnlineTarget(
                host="::1",
                port=3,
                username="u",
                password="p",
                tls=True,
                tls_options=(("ssl_cert_reqs", "none"),),
            ),
            "rediss://u:***@[::1]:3/0",
        ),
        (
            "unix:///a/b.sock?db=3",
            OnlineTarget(socket_path="/a/b.sock", db=3),
            "unix:///a/b.sock?db=3",
        ),
        ("redis://u@h", OnlineTarget(host="h", username="u"), "redis://u@h:6379/0"),
    ],
)
def test_a_url_is_read_whole(url, target, shown):
    assert OnlineTarget.from_url(url) == target
    assert target.url == shown


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://:secret@h", r"http://:\*\*\*@h is not a Redis URL"),
        ("nonsense", "nonsense is not a Redis URL"),
        ("redis://:secret@h?protocol=3", "unknown options: protocol"),
        ("unix://", "has no path"),
        ("redis://h?db=x", "not a Redis URL"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url, words):
    with pytest.raises(SettingError, match=words) as caught:
        OnlineTarget.from_url(url)

    assert "secret" not in str(caught.value)


def test_a_password_is_in_no_repr():
    assert "secret" not in repr(OnlineTarget(password="secret"))


@pytest.mark.feast
@pytest.mark.parametrize(
    "target",
    [
        OnlineTarget(host="h", port=1, db=2, password="1234", username="true"),
        OnlineTarget(
            host="h", password='p"=w:é', tls=True, tls_options=(("ssl_cert_reqs", "none"),)
        ),
        OnlineTarget(socket_path="/a b,c/d.sock", db=1, password='a,"b=,'),
    ],
)
def test_feast_reads_its_string_back(target):
    feast()
    from feast.infra.online_stores.redis import RedisOnlineStore

    nodes, options = RedisOnlineStore._parse_connection_string(target.feast_connection_string())

    assert options.pop("db") == target.db
    assert options.pop("ssl", False) == target.tls
    assert options.pop("password", None) == target.password
    assert options.pop("username", None) == target.username
    assert options.pop("unix_socket_path", None) == target.socket_path
    assert options == dict(target.tls_options)
    port = 0 if target.socket_path else target.port
    assert nodes == [{"host": target.host, "port": str(port)}]


SENTINEL = "redis+sentinel://u:p%2Cw@h:1,h2/my%20master/3"


@pytest.mark.feast
@pytest.mark.parametrize(
    ("url", "kind", "addresses", "options"),
    [
        (
            f"{SENTINEL}?sentinel_password=s%2Cp",
            "redis_sentinel",
            ["h:1", "h2:26379"],
            {"username": "u", "password": "p,w", "db": 3, "sentinel_kwargs": {"password": "s,p"}},
        ),
        (
            "rediss+sentinel://h/m?sentinel_ssl=false&ssl_check_hostname=false",
            "redis_sentinel",
            ["h:26379"],
            {"db": 0, "ssl": True, "ssl_check_hostname": False},
        ),
        ("redis+cluster://:1234@h:1,h2", "redis_cluster", ["h:1", "h2:6379"], {"password": "1234"}),
        (
            "rediss+cluster://h?ssl_ca_certs=/a%2Cb.pem",
            "redis_cluster",
            ["h:6379"],
            {"ssl": True, "ssl_ca_certs": "/a,b.pem"},
        ),
    ],
)
def test_feast_reads_clusters_and_sentinels_back(url, kind, addresses, options):
    feast()
    from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig

    config = OnlineTarget.from_url(url).feast_online_config()

    read = RedisOnlineStoreConfig(**config)
    nodes, found = RedisOnlineStore._parse_connection_string(read.connection_string)
    assert (read.redis_type.value, found) == (kind, options)
    assert [f"{node['host']}:{node['port']}" for node in nodes] == addresses
    if kind == "redis_sentinel":
        assert read.sentinel_master == OnlineTarget.from_url(url).service


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (OnlineTarget(host="::1"), "IPv6"),
        (OnlineTarget.from_url("redis+cluster://[::1]:7000"), "IPv6"),
        (
            OnlineTarget.from_url(f"{SENTINEL}?sentinel_username=me&sentinel_password=secret"),
            "more than one of the sentinels' username, password",
        ),
    ],
)
def test_what_feasts_string_has_no_room_for_is_refused(target, words):
    with pytest.raises(SettingError, match=words) as caught:
        target.feast_connection_string()

    assert "secret" not in str(caught.value)


def test_a_closed_port_is_unreachable_by_name():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    target = OnlineTarget(host="127.0.0.1", port=port, password="secret")

    with pytest.raises(OnlineUnreachable, match=rf"redis://:\*\*\*@127.0.0.1:{port}/0") as caught:
        target.connect()

    assert "secret" not in str(caught.value)
    assert "FEATMILL_REDIS_URL" in caught.value.hint


def test_an_unknown_certificate_check_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        options = (("ssl_cert_reqs", "maybe"),)
        target = OnlineTarget(host="127.0.0.1", port=port, tls=True, tls_options=options)
        with pytest.raises(SettingError, match="'maybe'"):
            target.connect()
