"""A reader that answers from memory is told when what serves moves, where the server can tell (rule 21)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from featmill.contract.catalog import ServingPolicy
from featmill.serving import reading
from featmill.serving.async_reader import AsyncFeatureReader
from tests.integration.serving.stored import NOON, USERS, Stored, service, values

pytestmark = pytest.mark.redis

POLICY = ServingPolicy(deadline=timedelta(seconds=5), cache_ttl=timedelta(minutes=5))
#: Longer than a push takes, and much shorter than the reader would wait to ask.
SOON = 0.2


@pytest.fixture
def stored(store, monkeypatch):
    monkeypatch.setattr(reading, "_CHECK_EVERY", 0.0)
    monkeypatch.setattr(reading, "_CHECK_TOLD", 600.0)
    found = Stored(store, services=[service("users:visits", policy=POLICY)])
    found.put(USERS, (1, NOON, 1, "Bonn", 0.5))
    found.serve()
    return found


async def visits(reader):
    answer = await reader.read("ranking", {"user_id": 1}, as_of=NOON)
    return answer.degraded, values(answer)["visits"]


def overwrite(stored):
    """A row that is other in the store than in memory, and no flip."""
    stored.put(USERS, (1, NOON, 2, "Bonn", 0.5))


def test_a_flip_is_told_and_nothing_else_is_asked(stored):
    async def story():
        async with await AsyncFeatureReader.open(stored.catalog, stored.target) as reader:
            seen = [await visits(reader)]
            overwrite(stored)
            await asyncio.sleep(SOON)
            seen.append(await visits(reader))
            stored.serve()
            await asyncio.sleep(SOON)
            return [*seen, await visits(reader)]

    assert asyncio.run(story()) == [(None, [1]), (None, [1]), (None, [2])]


def test_that_everything_was_deleted_is_told(stored):
    async def story():
        async with await AsyncFeatureReader.open(stored.catalog, stored.target) as reader:
            await visits(reader)
            with stored.target.client() as client:
                client.flushall()
            await asyncio.sleep(SOON)
            return await visits(reader)

    assert asyncio.run(story())[0] == "empty"


def test_a_lost_connection_tells_nothing(stored):
    """What was missed meanwhile is asked for."""

    async def story():
        async with await AsyncFeatureReader.open(stored.catalog, stored.target) as reader:
            await visits(reader)
            overwrite(stored)
            stored.serve()
            with stored.target.client() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(SOON)
            return await visits(reader)

    assert asyncio.run(story()) == (None, [2])


def test_a_server_that_does_not_tell_is_asked(stored):
    with stored.target.client() as client:
        client.acl_setuser("default", enabled=True, commands=["-client|tracking"])

    async def story():
        async with await AsyncFeatureReader.open(stored.catalog, stored.target) as reader:
            await visits(reader)
            overwrite(stored)
            stored.serve()
            return await visits(reader)

    try:
        seen = asyncio.run(story())
    finally:
        with stored.target.client() as client:
            client.acl_setuser("default", enabled=True, commands=["+@all"])

    assert seen == (None, [2])
