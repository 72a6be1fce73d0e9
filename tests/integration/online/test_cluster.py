"""A real cluster: rows land on their nodes, nothing is lost while slots move, one slow node holds up no other."""

from __future__ import annotations

import threading
import time
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from featmill.errors import OnlineError, OnlineRefused, OnlineUnreachable, SlotsMoved
from featmill.online.codec import pieces, redis_keys, write_commands
from featmill.online.connection import OnlineTarget, translated_errors
from featmill.online.pipeline import Pipeline, node_name
from featmill.online.plan import plan_view
from featmill.online.slots import SLOTS, key_slot, key_slots
from featmill.online.topology import PAUSES, Topology, through_moves, topology_of
from tests.integration.online.cluster_servers import running_cluster, wait_until
from tests.integration.online.publications import PROJECT, TABLE, snapshot

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("cluster")]

PLAN = plan_view(PROJECT, TABLE)
ENCODE = partial(write_commands, PLAN)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running):
    """The cluster, empty."""
    running.flush()
    return running


def keys_of(server):
    """The keys that one node holds."""
    with server.client() as client:
        return set(client.scan_iter(count=10_000))


def command(*parts):
    """A command as bytes."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


def send(pipeline, rows, on_reply=None):
    """Send rows as an export does: a piece at a time."""
    for batch in rows.to_batches(max_chunksize=4_000):
        for piece in pieces(batch):
            pipeline.send_rows(PLAN, piece, ENCODE, on_reply)


def key_in(slot):
    """A key of that slot."""
    return next(k for n in range(10_000_000) if key_slot(k := b"mark %d" % n) == slot)


def test_slots_are_those_the_server_computes(cluster):
    rng = np.random.default_rng(7)
    keys = [rng.bytes(size) for size in rng.integers(1, 60, 300)]
    keys += [b"{" + key[:9] + b"}" + key for key in keys] + [b"{}x", b"{a", b"a}{b}{c}", b"x{{y}}"]
    commands = b"".join(command(b"CLUSTER", b"KEYSLOT", key) for key in keys)
    found: list[int] = []

    with Pipeline(cluster.primaries[0].target(), window=10_000) as pipeline:
        pipeline.send(commands, len(keys), found.append)
        pipeline.finish()

    assert key_slots(pa.array(keys, pa.large_binary())).tolist() == found


def test_every_row_lands_on_the_node_that_holds_its_slot(cluster):
    rows = snapshot(10_000)
    replies: list[int] = []
    with Pipeline(cluster.target, window=500) as pipeline:
        send(pipeline, rows, replies.append)
        pipeline.finish()

    topology = topology_of(cluster.target)
    keys = redis_keys(PLAN, rows.combine_chunks().to_batches()[0])
    places = topology.route(keys)
    held = {s.port: keys_of(s) for s in cluster.primaries}
    assert replies == [4] * 10_000
    for place, node in enumerate(topology.nodes):
        mine = keys.filter(pa.array(places == place)).to_pylist()
        assert set(mine) == held[node.port]
        assert len(mine) > 3_000
    assert [topology.node_of(key) for key in keys.to_pylist()[:100]] == places[:100].tolist()
    with Pipeline(cluster.target, window=500) as alone, translated_errors(cluster.target):
        deleted: list[int] = []
        alone.send_keys(keys, partial(each_key, b"DEL"), deleted.append)
        alone.finish()
    assert deleted == [1] * 10_000


def each_key(name, keys):
    """One command a key."""
    return np.frombuffer(b"".join(command(name, key) for key in keys.to_pylist()), np.uint8)


def test_a_cluster_has_one_client_that_finds_every_key(cluster):
    with cluster.target.client() as client:
        client.hset("a", mapping={"x": 1})
        for number in range(50):
            client.set(f"k{number}", number)
        found = set(client.scan_iter(match="k*", count=10))
        hashes = list(client.scan_iter(_type="HASH"))

    assert found == {b"k%d" % number for number in range(50)}
    assert hashes == [b"a"]


def test_a_mark_waits_for_every_node_and_nothing_waits_for_it(cluster):
    topology = topology_of(cluster.target)
    slow = cluster.primaries[1]
    mark = key_in(0)  # on the first node
    seen: list[bytes] = []
    with Pipeline(cluster.target, window=100_000, topology=topology) as pipeline:
        slow.freeze()
        try:
            send(pipeline, snapshot(3_000))
            pipeline.send_key(mark, command(b"SET", mark, b"1"), 1, seen.append, after_all=True)
            send(pipeline, snapshot(3_000, first=3_000))
            pump(pipeline, cluster.primaries[0], 1_900)
            with cluster.primaries[0].client() as client:
                assert client.get(mark) is None
        finally:
            slow.thaw()
        pipeline.finish()
    assert seen == [b"OK"]
    assert sum(len(keys_of(server)) for server in cluster.primaries) == 6_001


def pump(pipeline, server, count):
    """Send what is queued until a node has at least so many keys."""

    def has_them():
        pipeline._step(wait=False)
        with server.client() as client:
            return client.dbsize() >= count

    wait_until(has_them, "a node takes its share while another is frozen", 20)


def test_a_frozen_node_holds_up_its_own_share_only(cluster):
    slow, *others = cluster.primaries
    slow.freeze()
    threading.Timer(1.5, slow.thaw).start()
    begun = time.monotonic()
    with Pipeline(cluster.target, window=16_384, topology=topology_by(others[0], cluster)) as sent:
        send(sent, snapshot(30_000))
        pump(sent, others[0], 9_000)
        pump(sent, others[1], 9_000)
        elapsed = time.monotonic() - begun
        sent.finish()

    assert sum(len(keys_of(server)) for server in cluster.primaries) == 30_000
    assert elapsed < 60


def topology_by(server, cluster):
    """The map of the cluster, asked of one node that is not frozen, while connections open."""
    return Topology(OnlineTarget.from_url(f"redis+cluster://127.0.0.1:{server.port}"))


def test_what_waits_for_a_slow_node_is_bounded(cluster, monkeypatch):
    monkeypatch.setattr("featmill.online.pipeline._BACKLOG", 3 * 50_000)
    slow = cluster.primaries[2]
    with Pipeline(cluster.target, window=1_000_000) as pipeline:
        slow.freeze()
        threading.Timer(1.0, slow.thaw).start()
        peaks = []
        for batch in snapshot(60_000).to_batches(max_chunksize=500):
            pipeline.send_rows(PLAN, batch, ENCODE)
            peaks.append(max(lane.queued for lane in pipeline._lanes))
        pipeline.finish()

    # The bound, and the one part that was let in below it.
    assert max(peaks) < 50_000 + 200 * 250
    assert sum(len(keys_of(server)) for server in cluster.primaries) == 60_000


def test_no_node_owes_more_replies_than_the_window_and_one_part(cluster):
    slow = cluster.primaries[2]
    with Pipeline(cluster.target, window=1_000) as pipeline:
        slow.freeze()
        threading.Timer(1.0, slow.thaw).start()
        owed = []
        for batch in snapshot(20_000).to_batches(max_chunksize=500):
            pipeline.send_rows(PLAN, batch, ENCODE)
            owed.append(max(lane.outstanding for lane in pipeline._lanes))
        pipeline.finish()

    assert 1_000 < max(owed) <= 1_000 + 250
    assert sum(len(keys_of(server)) for server in cluster.primaries) == 20_000


@pytest.mark.parametrize("by_hand", [True, False])
def test_slots_that_move_during_an_export_lose_nothing(cluster, by_hand):
    """Rows are sent in rounds with a mark after each; after every move it goes on from the last mark."""
    rows = snapshot(20_000)
    source, goal = cluster.primaries[0], cluster.primaries[2]
    moved_slots = range(100, 104) if by_hand else range(100, 1_100)
    topology = topology_of(cluster.target)
    journal = {"position": 0, "attempts": 0}
    mark = key_in(9_000)

    def note(position, _reply):
        journal["position"] = position

    def attempt():
        journal["attempts"] += 1
        with Pipeline(cluster.target, window=2_000, topology=topology) as pipeline:
            for start in range(journal["position"], 20_000, 1_000):
                send(pipeline, rows.slice(start, 1_000))
                done = partial(note, start + 1_000)
                pipeline.send_key(mark, command(b"SET", mark, b"1"), 1, done, after_all=True)
                if start == 8_000 and journal["attempts"] == 1:
                    pipeline.finish()
                    move()
            pipeline.finish()

    def move():
        if not by_hand:
            cluster.move_slots(moved_slots[0], moved_slots[-1], source, goal)
            return
        for slot in moved_slots:
            cluster.begin_migration(slot, source, goal)
        finish = [partial(cluster.finish_migration, slot, source, goal) for slot in moved_slots]
        threading.Timer(0.5, lambda: [done() for done in finish]).start()

    try:
        through_moves(topology, attempt, lambda: journal["position"])
    finally:
        if by_hand:
            wait_until(lambda: cluster.owner(moved_slots[-1]) is goal, "the last slot moved")
        restore(cluster, moved_slots, goal, source)

    assert journal["attempts"] > 1
    with Pipeline(cluster.target, window=100_000) as pipeline:
        keys = redis_keys(PLAN, rows.combine_chunks().to_batches()[0])
        found: list[int] = []
        pipeline.send_keys(keys, partial(each_key, b"EXISTS"), found.append)
        pipeline.finish()
    assert found == [1] * 20_000
    assert sum(len(keys_of(server)) for server in cluster.primaries) == 20_001


def restore(cluster, slots, source, goal):
    """Move the slots back, for the tests after this one."""
    cluster.move_slots(slots[0], slots[-1], source, goal)
    wait_until(lambda: settled(cluster), "every node has the same map")


def settled(cluster):
    """Whether every node names the same owners."""
    maps = []
    for server in cluster.primaries:
        target = OnlineTarget.from_url(f"redis+cluster://127.0.0.1:{server.port}")
        topology = Topology(target)
        ports = np.array([node.port for node in topology.nodes])
        maps.append(ports[topology._owners])
    return all((found == maps[0]).all() for found in maps)


def test_slots_that_never_settle_are_an_error_after_so_many_tries(cluster, monkeypatch):
    monkeypatch.setattr("featmill.online.topology.PAUSES", (0.01, 0.01))
    source, goal = cluster.primaries[0], cluster.primaries[1]
    key = key_in(50)
    cluster.begin_migration(50, source, goal)
    topology = topology_of(cluster.target)
    tries: list[int] = []

    def attempt():
        tries.append(1)
        with Pipeline(cluster.target, window=10, topology=topology) as pipeline:
            pipeline.send_key(key, command(b"SET", key, b"1"), 1)
            pipeline.finish()

    try:
        with pytest.raises(SlotsMoved, match="ASK 50") as caught:
            through_moves(topology, attempt, lambda: 0)
    finally:
        for server in (source, goal):
            with server.client() as client:
                client.execute_command("CLUSTER SETSLOT", 50, "STABLE")

    assert len(tries) == 3
    assert len(PAUSES) < 20
    assert "run the command again" in caught.value.hint


def test_progress_starts_the_count_of_tries_again(cluster, monkeypatch):
    monkeypatch.setattr("featmill.online.topology.PAUSES", (0.0, 0.0))
    journal = {"position": 0}

    def attempt():
        journal["position"] += 1
        if journal["position"] < 9:
            raise SlotsMoved("moved")
        return "done"

    topology = topology_of(cluster.target)
    assert through_moves(topology, attempt, lambda: journal["position"]) == "done"


def test_a_cluster_has_no_place_for_commands_without_a_key(cluster):
    with (
        Pipeline(cluster.target, window=1) as pipeline,
        pytest.raises(OnlineError, match="is a cluster: commands need the keys"),
    ):
        pipeline.send(command(b"PING"), 1)


def test_the_url_of_one_node_is_told_to_be_a_cluster(cluster):
    node = cluster.primaries[0].target()
    key = key_in(16_000)
    with Pipeline(node, window=1) as pipeline:
        pipeline.send_key(key, command(b"SET", key, b"1"), 1)
        with pytest.raises(OnlineRefused, match="MOVED 16000") as caught:
            pipeline.finish()

    assert "redis+cluster://" in caught.value.hint


def test_a_single_server_is_told_not_to_be_a_cluster(store):
    from redis import Redis

    assert isinstance(store.client(), Redis)
    with pytest.raises(OnlineUnreachable, match=r"no node of .* answers: no online store answers"):
        topology_of(OnlineTarget.from_url("redis+cluster://127.0.0.1:1"))


def test_connections_have_numbers_by_which_they_can_be_cut(cluster):
    topology = topology_of(cluster.target)
    with Pipeline(cluster.target, window=10, topology=topology) as pipeline:
        numbers = pipeline.client_ids()
        assert set(numbers) == {node_name(node) for node in topology.nodes}
        for node in topology.nodes:
            with node.client() as client:
                assert client.client_kill_filter(_id=numbers[node_name(node)]) == 1
        with pytest.raises(OnlineUnreachable):
            send(pipeline, snapshot(100_000))


def test_a_cluster_without_some_slots_says_so(tmp_path):
    with running_cluster(tmp_path, primaries=3) as broken:
        with broken.primaries[2].client() as client:
            client.execute_command("CLUSTER DELSLOTSRANGE", 16_000, 16_383)
        key = key_in(16_100)
        topology = Topology(
            OnlineTarget.from_url(f"redis+cluster://127.0.0.1:{broken.primaries[2].port}")
        )

        with pytest.raises(SlotsMoved, match=f"384 of the {SLOTS} slots have no node") as caught:
            topology.node_of(key)
        with pytest.raises(SlotsMoved, match="have no node"):
            topology.route(pa.array([key], pa.large_binary()))
    assert "have no node" in caught.value.hint


def test_a_replica_takes_over_and_the_next_run_goes_to_it(tmp_path):
    """The node that dies in the middle is an error that names it; a run after the failover finds its heir."""
    with running_cluster(tmp_path, replicas=1) as cluster:
        rows = snapshot(6_000)
        dying = cluster.primaries[1]
        with Pipeline(cluster.target, window=1_000) as pipeline:
            send(pipeline, rows.slice(0, 2_000))
            dying.kill()
            with pytest.raises(OnlineUnreachable, match=str(dying.port)):
                send(pipeline, rows)
        wait_until(lambda: takes_rows(cluster, rows), "the replica has taken over")
        ports = {node.port for node in topology_of(cluster.target).nodes}

    assert dying.port not in ports
    assert ports & {server.port for server in cluster.replicas}


def takes_rows(cluster, rows):
    """Whether a whole run goes through."""
    try:
        with Pipeline(cluster.target, window=1_000) as pipeline:
            send(pipeline, rows)
            pipeline.finish()
    except OnlineUnreachable:
        return False
    return True
