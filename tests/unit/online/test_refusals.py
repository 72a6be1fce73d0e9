"""Every kind of error reply has a type and a hint, whichever way in it came."""

from __future__ import annotations

import pytest
from hiredis import Reader
from redis import exceptions
from redis._parsers.base import BaseParser

from featmill.errors import (
    AccessDenied,
    KeyTaken,
    NotPrimary,
    OnlineRefused,
    OnlineUnreachable,
    SlotsMoved,
    StoreFull,
    StoreNotReady,
    StoreUnsaved,
)
from featmill.online.connection import OnlineTarget
from featmill.online.refusals import error_within, refusal, translated_errors

CLUSTER = OnlineTarget.from_url("redis+cluster://:secret@h")
NODE = CLUSTER.server("h", 1)
SINGLE = OnlineTarget(host="h", password="secret")

#: What servers say, what it is, and a word of what to do.
REPLIES = [
    ("OOM command not allowed when used memory > 'maxmemory'.", StoreFull, "maxmemory"),
    ("READONLY You can't write against a read only replica.", NotPrimary, "primary"),
    ("NOPERM User me has no permissions to run the 'hset' command", AccessDenied, "grant"),
    ("LOADING Valkey is loading the dataset in memory", StoreNotReady, "wait"),
    ("MISCONF Errors writing to the AOF file", StoreUnsaved, "log"),
    ("MASTERDOWN Link with MASTER is down", StoreNotReady, "primary"),
    ("NOREPLICAS Not enough good replicas to write.", StoreNotReady, "replicas"),
    ("BUSY Valkey is busy running a script.", StoreNotReady, "script"),
    ("WRONGTYPE Operation against a key holding the wrong kind", KeyTaken, "another program"),
    ("MOVED 3999 127.0.0.1:6381", SlotsMoved, "moved"),
    ("ASK 3999 127.0.0.1:6381", SlotsMoved, "migrated"),
    ("TRYAGAIN Multiple keys request during rehashing of slot", SlotsMoved, "migrated"),
    ("CLUSTERDOWN Hash slot not served", SlotsMoved, "no node"),
]


@pytest.mark.parametrize(("reply", "kind", "word"), REPLIES)
def test_an_error_reply_has_a_type_and_a_hint(reply, kind, word):
    found = refusal(NODE, reply)

    assert type(found) is kind
    assert reply in found.message
    assert word in found.hint
    assert "secret" not in str(found)


@pytest.mark.parametrize(("reply", "kind", "word"), REPLIES)
def test_what_redis_py_makes_of_it_becomes_the_same_error(reply, kind, word):
    with pytest.raises(kind) as caught, translated_errors(CLUSTER):
        raise BaseParser.parse_error(reply)

    assert type(caught.value) is kind
    assert reply.partition(" ")[0] in caught.value.message
    assert word in caught.value.hint


@pytest.mark.parametrize("reply", ["MOVED 1 h:1", "ASK 1 h:1", "CLUSTERDOWN x"])
def test_a_single_server_that_is_a_node_says_how_to_name_the_cluster(reply):
    found = refusal(SINGLE, reply)

    assert type(found) is OnlineRefused
    assert "redis+cluster://" in found.hint


def test_an_unknown_error_keeps_its_words():
    found = refusal(SINGLE, "ERR something else")

    assert (type(found), found.hint) == (OnlineRefused, None)
    assert "ERR something else" in found.message


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (exceptions.AuthenticationError("wrong"), OnlineUnreachable, "refused the login: wrong"),
        (exceptions.ConnectionError("gone"), OnlineUnreachable, "no online store answers"),
        (exceptions.TimeoutError("late"), OnlineUnreachable, "no online store answers"),
        (ConnectionResetError("reset"), OnlineUnreachable, "no online store answers"),
        (exceptions.SlotNotCoveredError("7"), SlotsMoved, "CLUSTERDOWN 7"),
        (exceptions.RedisClusterException("x"), OnlineUnreachable, "no cluster answers"),
        (exceptions.ResponseError("ERR no"), OnlineRefused, "refused a command: ERR no"),
    ],
)
def test_what_is_no_reply_is_translated_too(error, kind, words):
    with pytest.raises(kind, match=words) as caught, translated_errors(CLUSTER):
        raise error

    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)


def test_redis_pys_wrapper_of_a_cluster_error_is_seen_through():
    wrapper = exceptions.RedisClusterException("cannot be connected")
    wrapper.__cause__ = BaseParser.parse_error("NOPERM no CLUSTER for you")

    with pytest.raises(AccessDenied, match="NOPERM"), translated_errors(CLUSTER):
        raise wrapper


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"*2\r\n:1\r\n*1\r\n-OOM no\r\n", "OOM no"),
        (b"-EXECABORT aborted\r\n", "EXECABORT aborted"),
        (b"*2\r\n:1\r\n$-1\r\n", None),
        (b":1\r\n", None),
    ],
)
def test_errors_are_found_however_deep(data, found):
    reader = Reader()
    reader.feed(data)

    error = error_within(reader.gets())

    assert (None if error is None else str(error)) == found
