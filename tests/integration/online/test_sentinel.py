"""Real sentinels: the primary is found, a failover in the middle ends clearly, the next run goes to the new one."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pytest

from exporters.redis import export_view, verify_view
from featmill.errors import NotPrimary, OnlineUnreachable
from featmill.online.codec import pieces, write_commands
from featmill.online.connection import OnlineTarget
from featmill.online.live import read_record
from featmill.online.pipeline import Pipeline
from featmill.online.plan import plan_view
from featmill.online.sentinel import primary_of
from featmill.online.topology import topology_of
from tests.integration.online.cluster_servers import (
    HOST,
    free_ports,
    running_sentinels,
    servers,
    wait_until,
)
from tests.integration.online.fake_sentinels import sentinel_url, sentinels_that_say
from tests.integration.online.publications import PROJECT, TABLE, job, snapshot

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("sentinel")]

PLAN = plan_view(PROJECT, TABLE)


@pytest.fixture
def group(tmp_path):
    with running_sentinels(tmp_path) as running:
        yield running


def send(pipeline, rows):
    """Send rows as an export does: a piece at a time."""
    for batch in rows.to_batches(max_chunksize=2_000):
        for piece in pieces(batch):
            pipeline.send_rows(PLAN, piece, partial(write_commands, PLAN))


def export(target, rows):
    """All rows, answered."""
    with Pipeline(target, window=1_000) as pipeline:
        send(pipeline, rows)
        pipeline.finish()


def test_a_primary_that_is_killed_is_a_clear_error_and_the_next_run_goes_to_its_heir(group):
    rows = snapshot(5_000)
    export(group.target, rows.slice(0, 1_000))
    dying = group.primary()
    with Pipeline(group.target, window=1_000) as pipeline:
        send(pipeline, rows.slice(0, 2_000))
        dying.kill()
        with pytest.raises(OnlineUnreachable, match=f"{HOST}:{dying.port}"):
            send(pipeline, rows)
    begun = time.monotonic()
    with pytest.raises(NotPrimary, match=r"name no primary that serves: .*refused") as caught:
        primary_of(group.target)
    assert time.monotonic() - begun < 5
    assert "run the command again" in caught.value.hint

    heir = group.wait_for_failover(dying)
    export(group.target, rows)

    with group.target.client() as client:
        assert client.dbsize() == 5_000
    with heir.client() as client:
        assert client.dbsize() == 5_000
    # It comes back as a replica, and is not taken for the primary.
    dying.start()
    wait_until(lambda: role(dying) == b"slave", "the old primary follows the new one")
    assert primary_of(group.target).port == heir.port


def test_an_export_that_loses_its_primary_goes_on_at_the_new_one(group):
    """Replication is in order: where the heir has a mark of the journal it has the rows that it counts."""
    rows = snapshot(100_000)
    dying = group.primary()

    def dying_at(place):
        for number, batch in enumerate(rows.to_batches(max_chunksize=1_000)):
            if number == place:
                has_mark = partial(has_journal, group.servers[1].target())
                wait_until(has_mark, "the replica has a mark")
                dying.kill()
            yield batch

    reader = pa.RecordBatchReader.from_batches(rows.schema, dying_at(70))
    with pytest.raises(OnlineUnreachable):
        export_view(group.target, job(rows), reader)
    group.wait_for_failover(dying)
    assert not read_record(group.target, PROJECT, TABLE.name).is_complete

    found = export_view(group.target, job(rows), rows.to_reader(max_chunksize=1_000))

    assert found.resumed_from > 0
    assert verify_view(group.target, PROJECT, TABLE, rows.to_reader()).is_equal


def has_journal(target):
    """Whether a server has a record that counts rows."""
    record = read_record(target, PROJECT, TABLE.name)
    return record is not None and record.position > 0


def role(server):
    """What a server says it is."""
    with server.client() as client:
        return client.execute_command("ROLE")[0]


def test_a_failover_on_request_in_the_middle_of_a_run_is_not_mistaken_for_success(group):
    """The old primary lives on as a replica: it cuts the connection or refuses, and never swallows rows."""
    rows = snapshot(4_000)
    old = group.primary()
    with Pipeline(group.target, window=200) as pipeline:
        send(pipeline, rows.slice(0, 500))
        pipeline.finish()
        with group.sentinels[0].client() as client:
            wait_until(partial(client.execute_command, "SENTINEL FAILOVER", "mymaster"), "begins")
        heir = group.wait_for_failover(old)
        wait_until(lambda: role(old) == b"slave", "the old primary is a replica")
        with pytest.raises(OnlineUnreachable) as caught:
            send(pipeline, rows)
    is_cut = "closed" in str(caught.value) or "reset" in str(caught.value).lower()
    assert isinstance(caught.value, NotPrimary) or is_cut

    export(group.target, rows)

    with heir.client() as client:
        assert client.dbsize() == 4_000


def test_a_stale_sentinel_is_outvoted_and_a_replica_never_taken(group):
    """A sentinel that was cut off names the server that was the primary before the failover."""
    primary, replica = group.servers
    stale, fresh = (replica.port, 1), (primary.port, 2)

    with sentinels_that_say(stale, fresh, fresh) as (ports, asked):
        assert primary_of(OnlineTarget.from_url(sentinel_url(ports))).port == primary.port
        assert asked == [0, 1]  # a majority, and no more
    with (
        sentinels_that_say(stale, stale, fresh) as (ports, _),
        pytest.raises(NotPrimary, match=f"{HOST}:{replica.port} is a replica"),
    ):
        primary_of(OnlineTarget.from_url(sentinel_url(ports)))


def test_of_two_servers_that_call_themselves_primaries_the_newer_one_counts(tmp_path):
    """The old primary was cut off, not killed: it still takes writes that nobody will ever see."""
    first, second = free_ports(2)
    with servers(tmp_path) as start:
        old, new = start("old", first), start("new", second)
        with sentinels_that_say((old.port, 5), (new.port, 6), (old.port, 5)) as (ports, _):
            assert primary_of(OnlineTarget.from_url(sentinel_url(ports))).port == new.port


def test_a_sentinel_that_is_gone_or_frozen_is_passed_over(group):
    group.sentinels[0].kill()
    group.sentinels[1].freeze()
    begun = time.monotonic()
    found = primary_of(group.target, timeout=0.5)
    elapsed = time.monotonic() - begun
    group.sentinels[1].thaw()

    assert found.port == group.servers[0].port
    assert elapsed < 3


def test_a_service_that_no_sentinel_knows_is_named(group):
    unknown = replace(group.target, service="other")

    with pytest.raises(OnlineUnreachable, match="No such master with that name") as caught:
        unknown.client()

    assert "sentinel monitor" in caught.value.hint


def test_sentinels_that_do_not_answer_are_all_named():
    target = OnlineTarget.from_url(f"redis+sentinel://:secret@{HOST}:1,{HOST}:2/m")

    with pytest.raises(OnlineUnreachable, match=rf"{HOST}:1/0.*{HOST}:2/0") as caught:
        topology_of(target)

    assert "secret" not in str(caught.value)


def test_the_stores_password_and_the_sentinels_are_different_things(tmp_path):
    with running_sentinels(tmp_path, sentinels=1, password="p w") as group:
        with group.sentinels[0].client() as client:
            client.execute_command("ACL SETUSER watcher on >s&w +ping +sentinel|master")
            client.execute_command("ACL SETUSER default off")
        login = "sentinel_username=watcher&sentinel_password=s%26w"
        hosts = f"{HOST}:{group.sentinels[0].port}/mymaster"
        target = OnlineTarget.from_url(f"redis+sentinel://:p%20w@{hosts}?{login}")

        export(target, snapshot(100))

        with target.client() as client:
            assert client.dbsize() == 100
        with pytest.raises(OnlineUnreachable, match="refused PING: NOAUTH"):
            replace(target, sentinel_username=None, sentinel_password=None).client()
        with pytest.raises(OnlineUnreachable, match="refused AUTH: WRONGPASS") as caught:
            replace(target, password="no").client()
    assert "p w" not in str(caught.value)
