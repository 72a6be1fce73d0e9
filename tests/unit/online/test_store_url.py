"""URLs of sentinels and clusters: every part is read, and no password is shown."""

from __future__ import annotations

import pytest

from featmill.errors import SettingError
from featmill.online.connection import OnlineTarget, StoreKind


@pytest.mark.parametrize(
    ("url", "target", "shown"),
    [
        (
            "redis+sentinel://u:p%40w@s1:1,s2,[::1]:3/my%20master/4"
            "?sentinel_username=su&sentinel_password=s%26p",
            OnlineTarget(
                host="s1",
                port=1,
                username="u",
                password="p@w",
                db=4,
                kind=StoreKind.SENTINEL,
                hosts=(("s1", 1), ("s2", 26379), ("::1", 3)),
                service="my master",
                sentinel_username="su",
                sentinel_password="s&p",
            ),
            "redis+sentinel://u:***@s1:1,s2:26379,[::1]:3/my master/4",
        ),
        (
            "rediss+sentinel://s1/m",
            OnlineTarget(
                host="s1",
                port=26379,
                tls=True,
                kind=StoreKind.SENTINEL,
                hosts=(("s1", 26379),),
                service="m",
                sentinel_tls=True,
            ),
            "rediss+sentinel://s1:26379/m/0",
        ),
        (
            "rediss+cluster://:p@[fe80::1]:1,c2/0?ssl_ca_certs=/ca.pem",
            OnlineTarget(
                host="fe80::1",
                port=1,
                password="p",
                tls=True,
                tls_options=(("ssl_ca_certs", "/ca.pem"),),
                kind=StoreKind.CLUSTER,
                hosts=(("fe80::1", 1), ("c2", 6379)),
            ),
            "rediss+cluster://:***@[fe80::1]:1,c2:6379",
        ),
    ],
)
def test_a_url_of_several_hosts_is_read_whole(url, target, shown):
    assert OnlineTarget.from_url(url) == target
    assert target.url == shown
    assert "p@w" not in repr(target)
    assert "s&p" not in repr(target)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+cluster://u:secret@h/3", "database '3': a cluster has only database 0"),
        ("redis+cluster://:secret@h?db=1", "database '1': a cluster has only database 0"),
        ("redis+cluster://:secret@", "names no host"),
        ("redis+cluster://:secret@h:x", "no port number in 'h:x'"),
        ("redis+cluster://:secret@h:70000", "no port number"),
        ("redis+cluster://:secret@::1", "IPv6 address without brackets"),
        ("redis+cluster://:secret@[::1", "no address in"),
        ("redis+cluster://:secret@h?timeout=1", "unknown options: timeout"),
        ("redis+sentinel://:secret@h", "must name the service"),
        ("redis+sentinel://:secret@h/m/0/1", "must name the service"),
        ("redis+sentinel://:secret@h/m/x", "no database number in 'x'"),
        ("redis+sentinel://:secret@h,/m", "names no host"),
        ("redis+sentinel://h/m?sentinel_password=secret&x=1", "unknown options: x"),
        ("redis+ring://:secret@h", "not a Redis URL"),
        ("redis://h?protocol=3&password=secret", "unknown options: protocol"),
        ("u:secret@h:1", "u:\\*\\*\\*@h:1 is not a Redis URL"),
        ("redis:/u:secret@h", "not a Redis URL"),
        ("redis+ring://u:a?secret@h", "not a Redis URL"),
        ("redis+ring://h?password=secret&x=a@b", "not a Redis URL"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url, words):
    with pytest.raises(SettingError, match=words) as caught:
        OnlineTarget.from_url(url)

    assert "secret" not in str(caught.value)


def test_a_server_of_a_store_has_its_login_and_a_sentinel_its_own():
    target = OnlineTarget.from_url("rediss+sentinel://u:p@s/m/2?sentinel_password=q&sentinel_ssl=0")

    server, sentinel = target.server("h", 1), target.sentinel("s", 2)

    assert (server.kind, server.username, server.password) == (StoreKind.SINGLE, "u", "p")
    assert (server.db, server.tls) == (2, True)
    assert (sentinel.username, sentinel.password) == (None, "q")
    assert (sentinel.db, sentinel.tls) == (0, False)


def test_a_node_knows_that_it_is_of_a_cluster():
    target = OnlineTarget.from_url("redis+cluster://h")

    assert target.is_of_cluster
    assert target.server("h", 1).kind is StoreKind.NODE
    assert not OnlineTarget().is_of_cluster
