"""A read's commands to the byte, and what becomes of a connection that breaks or is refused."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as BrokenError
from redis.exceptions import ResponseError
from redis.retry import Retry

pytestmark = [pytest.mark.feast, pytest.mark.filterwarnings("ignore::DeprecationWarning:feast")]

BYTES = st.binary(max_size=300)
VIEWS = st.lists(st.tuples(st.lists(BYTES, max_size=3), st.lists(BYTES, max_size=4).map(tuple)))


class Connection:
    """Gives what it is told to, raises what is an error, and notes what is done to it."""

    def __init__(self, retry, *replies):
        self.retry, self.replies, self.notes = retry, list(replies), []

    def send_packed_command(self, _):
        self.notes.append("send")

    def read_response(self):
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def disconnect(self, **_):
        self.notes.append("disconnect")

    # A pool of one, and its client.
    @property
    def connection_pool(self):
        return self

    def get_connection(self):
        return self

    def release(self, _):
        self.notes.append("release")


class AsyncConnection(Connection):
    async def send_packed_command(self, command):
        super().send_packed_command(command)

    async def read_response(self):
        return super().read_response()

    async def disconnect(self, **options):
        super().disconnect(**options)

    async def get_connection(self):
        return self

    async def release(self, one):
        super().release(one)


def asked(*replies, wanted=2):
    """What reading gives or raises, with and without blocking, and the notes of both."""
    from exporters.feast.plugins.requests import ask, ask_async

    plain = Connection(Retry(NoBackoff(), 1), *replies)
    other = AsyncConnection(AsyncRetry(NoBackoff(), 1), *replies)
    found: list[object] = []
    for read in (
        lambda: ask(plain, b"", wanted),
        lambda: asyncio.run(ask_async(other, b"", wanted)),
    ):
        try:
            found.append(read())
        except (ResponseError, BrokenError) as error:
            found.append(str(error))
    assert found[0] == found[1]
    assert plain.notes == other.notes
    return found[0], plain.notes


@given(VIEWS, BYTES)
def test_the_commands_are_those_the_client_would_pack(views, pointer):
    from redis.connection import Connection as Real

    from exporters.feast.plugins.requests import packed

    hmgets = [("HMGET", key, *fields) for keys, fields in views for key in keys]
    wanted = Real().pack_commands([*hmgets, ("HGET", pointer, "version")])

    assert packed(views, pointer) == b"".join(wanted)


def test_a_connection_goes_back_with_no_reply_left():
    assert asked([b"1"], b"1.2") == ([[b"1"], b"1.2"], ["send", "release"])


def test_a_refused_command_ends_the_connection():
    """The replies behind it would be taken for those of the next read."""
    assert asked(ResponseError("no"), b"1.2") == ("no", ["send", "disconnect", "release"])


def test_a_broken_connection_is_opened_again():
    found, notes = asked([b"0"], BrokenError("gone"), [b"1"], b"1.2")

    assert (found, notes) == ([[b"1"], b"1.2"], ["send", "disconnect", "send", "release"])


def test_a_store_that_is_gone_is_said():
    found, notes = asked(BrokenError("gone"), BrokenError("gone for good"))

    assert found == "gone for good"
    assert notes[-2:] == ["disconnect", "release"]
