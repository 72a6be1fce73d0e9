"""Exports, comparisons and retired views on a real cluster, whole and killed half-way, while slots move."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial

import pyarrow as pa
import pytest

from exporters.changed_rows import RowSource
from exporters.redis import export_view, retire_view
from featmill.online.connection import OnlineTarget
from featmill.online.live import read_live, read_record
from featmill.online.topology import topology_of
from tests.integration.online.cluster_servers import running_cluster, wait_until
from tests.integration.online.lakes import Shop, exporter, replaced
from tests.integration.online.publications import (
    PROJECT,
    TABLE,
    dump,
    export,
    job,
    snapshot,
    verify,
)

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("cluster")]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running):
    """The cluster, empty."""
    running.flush()
    return running


def sizes(cluster):
    """How many keys each node has."""
    found = []
    for server in cluster.primaries:
        with server.client() as client:
            found.append(client.dbsize())
    return found


def test_a_cluster_holds_what_one_server_does(cluster, store):
    rows = snapshot(9_000)

    export(cluster.target, rows)
    export(store, rows)

    assert verify(cluster.target, rows).is_equal
    assert dump(cluster.target) == dump(store)
    assert min(sizes(cluster)) > 2_500
    record = read_record(cluster.target, PROJECT, TABLE.name)
    assert record.is_complete
    assert len(record.clients) == 3


def test_what_differs_anywhere_is_found(cluster):
    rows = snapshot(6_000)
    export(cluster.target, rows)
    topology = topology_of(cluster.target)
    hidden = []
    for node in topology.nodes:
        with node.client() as client:
            keys = [k for k in client.scan_iter(count=10_000) if not k.startswith(b"featmill:")]
            client.delete(keys[0])
            hidden.append(keys[0])
    export(cluster.target, snapshot(3, first=50_000), "s2", table=TABLE, force=True)

    report = verify(cluster.target, rows)

    assert report.total_differences == len(hidden) + 3


def test_the_next_snapshot_replaces_and_what_vanished_goes(cluster):
    export(cluster.target, snapshot(5_000))

    def vanished(_):
        return snapshot(1_000, first=4_000).select(["user_id"]).to_reader()

    found = export(cluster.target, snapshot(4_000, day=1), "s2", vanished=vanished)

    assert found.deleted == 1_000
    assert verify(cluster.target, snapshot(4_000, day=1)).is_equal


def test_a_retired_view_leaves_no_node_with_a_field_of_it(cluster):
    export(cluster.target, snapshot(5_000))

    assert retire_view(cluster.target, PROJECT, TABLE.name).entities == 5_000

    assert sizes(cluster) == [0, 0, 0]
    assert read_live(cluster.target, PROJECT) == {}


SCRIPT = """
import sys, time
from exporters.redis import export_view
from featmill.online.connection import OnlineTarget
from tests.integration.online.publications import job, snapshot

rows = snapshot(200_000)


def slowly():
    for batch in rows.to_batches(max_chunksize=1_000):
        time.sleep(0.01)
        yield batch


import pyarrow as pa
reader = pa.RecordBatchReader.from_batches(rows.schema, slowly())
export_view(OnlineTarget.from_url(sys.argv[1]), job(rows), reader)
"""


def test_a_killed_run_resumes_from_its_journal(cluster):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, cluster.url])
    try:
        wait_until(partial(has_reached, cluster.target, 60_000), "a third is written", 60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    record = read_record(cluster.target, PROJECT, TABLE.name)
    assert not record.is_complete
    assert sum(sizes(cluster)) > record.position > 0

    rows = snapshot(200_000)
    found = export(cluster.target, rows)

    assert found.resumed_from == record.position
    assert found.rows == 200_000 - record.position
    assert verify(cluster.target, rows).is_equal


def has_reached(target, position):
    """Whether the journal is at least there."""
    record = read_record(target, PROJECT, TABLE.name)
    return record is not None and record.position >= position


def test_slots_move_in_the_middle_and_the_same_run_ends_whole(cluster):
    """Every slot of half a node moves while rows are written; the run follows them by itself."""
    rows = snapshot(120_000)
    source, goal = cluster.primaries[0], cluster.primaries[2]
    opened = []

    def read_all():
        opened.append(time.monotonic())
        return pa.RecordBatchReader.from_batches(rows.schema, moving(len(opened) == 1))

    def moving(is_first):
        for place, batch in enumerate(rows.to_batches(max_chunksize=1_000)):
            if is_first and place == 70:
                cluster.move_slots(0, 2_500, source, goal)
            yield batch

    try:
        found = export_view(cluster.target, job(rows), RowSource(read_all, None))
    finally:
        cluster.move_slots(0, 2_500, goal, source)

    assert len(opened) > 1
    assert not found.unchanged
    assert found.resumed_from > 0
    wait_until(lambda: verify(cluster.target, rows).is_equal, "every row is there")
    assert read_record(cluster.target, PROJECT, TABLE.name).is_complete


def test_the_url_may_name_any_one_node(cluster):
    for server in cluster.primaries:
        target = OnlineTarget.from_url(f"redis+cluster://127.0.0.1:{server.port}")
        export(target, snapshot(100), force=True)
        assert verify(target, snapshot(100)).is_equal


def test_a_cluster_is_written_only_what_differs(cluster, tmp_path):
    shop = Shop(tmp_path)
    old = snapshot(6_000)
    shop.export(cluster.target, shop.publish(0, old), epoch=1)
    new = replaced(old, "count_7d", dict.fromkeys(range(0, 6_000, 10), -1)).slice(100)
    second = shop.publish(1, new)

    result = shop.export(cluster.target, second, epoch=2)

    assert (result.changed, result.values, result.deleted) == (590, 590, 100)
    assert shop.verify(cluster.target, second).is_equal


def test_a_newer_promotion_ends_an_older_ones_connections_on_every_node(
    cluster, tmp_path, repository
):
    shop = Shop(tmp_path)
    first, second, third = (shop.publish(day, snapshot(6_000, day=day)) for day in range(3))
    shop.export(cluster.target, first, epoch=1)
    with exporter(cluster.target, shop, second, repository, epoch=2) as process:
        wait_until(lambda: is_writing(cluster.target, epoch=2), "the older one writes", 30)
        process.send_signal(signal.SIGSTOP)
        shop.export(cluster.target, third, epoch=3)
        finished = dump(cluster.target)
        process.send_signal(signal.SIGCONT)
        said = process.communicate(timeout=30)[1]

    assert "clicks belongs to promotion 3" in said
    assert dump(cluster.target) == finished
    assert shop.verify(cluster.target, third).is_equal


def is_writing(target, *, epoch):
    """Whether a run of this promotion has marked rows."""
    record = read_record(target, PROJECT, TABLE.name)
    return record.epoch == epoch and record.position > 0
