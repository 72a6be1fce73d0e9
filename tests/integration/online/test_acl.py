"""The users of the how-to can do their work, with exactly the commands that it lists."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from pathlib import Path

import pytest

from featmill.errors import AccessDenied, LakeError
from featmill.online.connection import OnlineTarget
from featmill.online.expiry import KeyExpiry
from featmill.serving.reader import FeatureReader
from orchestration.live_projects import live
from orchestration.promotion import clean
from tests.integration.online.cluster_servers import running_cluster, running_sentinels
from tests.integration.online.publications import export, snapshot, verify
from tests.integration.serving.chain import CLICKS, ORDERS, Chain, day
from tests.integration.serving.stored import NOON, USERS, Stored, service, values

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("cluster")]

GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "connect-your-redis.md"
WRITER, READER = "featmill-writer", "featmill-reader"

#: What anybody may say, what redis-py says of itself to every server, allowed or not, and what this test asks.
OURS = {"auth", "client|setinfo", "config|resetstat", "info", "acl|setuser", "flushall"}


def rule(user):
    """The rule of a user, as the guide has it for a shell."""
    text = GUIDE.read_text().replace("\\\n", " ")
    (found,) = re.findall(rf"^valkey-cli ACL SETUSER {user} (.*)$", text, re.MULTILINE)
    return shlex.split(found)


def granted(user):
    """The commands of a user."""
    return {part[1:] for part in rule(user) if part.startswith("+")}


def used(servers):
    """The commands that servers ran since they forgot."""
    found = set()
    for server in servers:
        with server.client() as client:
            stats = client.info("commandstats")
        found |= {name.removeprefix("cmdstat_") for name, s in stats.items() if s["calls"]}
    return found - OURS


def forget(servers):
    """Forget what was run."""
    for server in servers:
        with server.client() as client:
            client.config_resetstat()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


class Place:
    """A store, its servers, and the two users."""

    def __init__(self, servers, url):
        self.servers = servers
        self._url = url
        for server in servers:
            with server.client() as client:
                client.flushall()
                for user in (WRITER, READER):
                    client.execute_command("ACL SETUSER", user, "reset", *rule(user))
        forget(servers)

    def url(self, user):
        """The store's URL with a user."""
        return self._url.replace("@", f"{user}:{password_of(user)}@")

    def target(self, user):
        return OnlineTarget.from_url(self.url(user))


class One:
    """The embedded server, as a server of a cluster is had."""

    def __init__(self, target):
        self._target = target

    def client(self):
        return self._target.client()


@pytest.fixture(params=["one server", "a cluster"])
def place(request):
    if request.param == "one server":
        embedded = request.getfixturevalue("embedded")
        return Place([One(embedded.target)], f"unix://@{embedded.target.socket_path}")
    cluster = request.getfixturevalue("running")
    return Place(cluster.primaries, cluster.url.replace("://", "://@"))


def chain_of(place, folder, monkeypatch):
    """A lake whose store is the writer's."""
    chain = Chain(folder, place.target(WRITER), monkeypatch)
    chain.settings = chain.settings.model_copy(update={"redis_url": place.url(WRITER)})
    return chain


def publish_everything(chain):
    """All that the commands for publishing do to a store."""
    first = chain.publish(CLICKS, day(1), [(n, day(1), n, "a") for n in range(200)])
    chain.export(first)
    chain.verify(first)
    for number in range(2, 6):
        rows = [(n, day(number), n * number, None) for n in range(number, 200)]
        chain.publish(CLICKS, day(number), rows)
        chain.promote(mode="generation")
    chain.rollback()
    clean(chain.settings)
    live(chain.settings)
    chain.publish(CLICKS, day(7), [(n, day(7), n, "a") for n in range(100)])
    chain.promote(mode="in_place")
    chain.publish(CLICKS, day(8), [(n, day(8), n % 2, "a") for n in range(90)])
    chain.promote(mode="in_place")
    of_tenant = ORDERS.model_copy(update={"tenant": "acme"})
    chain.tables = (CLICKS, of_tenant)
    chain.release(
        chain.snapshot(CLICKS, day(9), [(1, day(9), 1, "a")]),
        chain.snapshot(of_tenant, day(9), [(1, day(9), 1.0)]),
    )
    chain.promote()
    chain.tables = (CLICKS,)
    chain.publish(CLICKS, day(10), [(1, day(10), 2, "a")])
    chain.promote()
    chain.tables = ()
    chain.export()


def publish_with_expiry_and_take_over(target):
    """Keys that expire, then keys that do not; a run that stopped half-way, taken over by the next."""
    day_us = 86_400_000_000
    export(target, snapshot(100), expiry=KeyExpiry(10_000 * day_us, day_us, day_us))
    export(target, snapshot(100), "s2", keeps=True)
    with pytest.raises(LakeError):
        export(target, snapshot(50, day=1), "s3", total_rows=100)
    export(target, snapshot(100, day=1), "s3")
    assert verify(target, snapshot(100, day=1)).is_equal


def test_the_writer_publishes_with_exactly_its_commands(place, tmp_path, monkeypatch):
    chain = chain_of(place, tmp_path, monkeypatch)

    publish_everything(chain)
    publish_with_expiry_and_take_over(place.target(WRITER))

    allowed = granted(WRITER)
    found = used(place.servers)
    assert sorted(found - allowed) == []
    # This test asks for `info` as well, so who did cannot be told.
    UNUSED[type(place.servers[0])] = allowed - found - {"info"}


#: What the guide grants and a kind of store did not need: one server needs no map of slots.
UNUSED: dict[type, set[str]] = {}


def test_nothing_is_granted_to_the_writer_that_no_store_needs():
    if len(UNUSED) < 2:
        pytest.skip("needs what the tests before it found")
    assert set.intersection(*UNUSED.values()) == set()


def test_behind_sentinels_both_need_one_more(tmp_path):
    with running_sentinels(tmp_path, sentinels=1) as group:
        primary = group.servers[0]
        with primary.client() as client:
            for user in (WRITER, READER):
                client.execute_command("ACL SETUSER", user, "reset", *rule(user))
        login = f"{WRITER}:{password_of(WRITER)}@"
        target = OnlineTarget.from_url(group.url.replace("://", f"://{login}"))

        with pytest.raises(AccessDenied, match="'role'"):
            export(target, snapshot(10))
        with primary.client() as client:
            client.execute_command("ACL SETUSER", WRITER, "+role")
        export(target, snapshot(10))

        assert verify(target, snapshot(10)).is_equal


def password_of(user):
    """The password of a user, as the guide has it."""
    (found,) = (part[1:] for part in rule(user) if part.startswith(">"))
    return found


def test_the_reader_reads_with_its_commands_and_can_do_nothing_else(place):
    stored = Stored(place.target(WRITER), [USERS], [service("users:visits", "users:city")])
    stored.put(USERS, *((n, NOON - timedelta(hours=1), n, "x", 0.5) for n in range(50)))
    stored.serve()
    forget(place.servers)
    target = place.target(READER)

    with FeatureReader.open(stored.catalog, target) as reader:
        answer = reader.read("ranking", {"user_id": list(range(50))}, as_of=NOON)

    assert values(answer)["visits"] == list(range(50))
    assert sorted(used(place.servers) - granted(READER)) == []
    with pytest.raises(AccessDenied, match="NOPERM") as caught:
        export(target, snapshot(10))
    assert "connect-your-redis" in caught.value.hint
    with pytest.raises(AccessDenied, match="NOPERM"):
        verify(target, snapshot(10))
