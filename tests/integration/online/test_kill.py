"""kill -9 in the middle of an export leaves no half entity and a record that says so (rule 21)."""

from __future__ import annotations

import subprocess
import sys
import time

import pyarrow as pa
import pytest

from exporters.redis import export_view
from featmill.errors import OnlineUnreachable
from featmill.online.connection import OnlineTarget
from featmill.online.live import live_key, read_record
from tests.integration.online.lakes import Shop, exporter, replaced
from tests.integration.online.publications import (
    PROJECT,
    dump,
    export,
    job,
    snapshot,
    verify,
)

pytestmark = pytest.mark.redis

ROWS = 40_000

#: Reads its rows slowly, so that even a slow test kills it in the middle.
EXPORTER = """
import sys, time
import pyarrow as pa
from exporters.redis import export_view
from featmill.online.connection import OnlineTarget
from tests.integration.online.publications import job, snapshot

def slowly(rows):
    for batch in rows.to_batches(max_chunksize=1_000):
        time.sleep(0.01)
        yield batch

rows = snapshot(int(sys.argv[2]), day=1)
reader = pa.RecordBatchReader.from_batches(rows.schema, slowly(rows))
export_view(OnlineTarget.from_url(sys.argv[1]), job(rows, "s2"), reader, vanished=None)
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def old():
    return snapshot(ROWS)


@pytest.fixture(scope="module")
def new():
    return snapshot(ROWS, day=1)


@pytest.fixture(scope="module")
def dumps(embedded, old, new):
    """What the store holds of the old snapshot, and of the new."""
    found = []
    for db, rows in enumerate((old, new), start=1):
        target = OnlineTarget(socket_path=embedded.target.socket_path, db=db)
        export(target, rows)
        found.append(dump(target))
    return found


@pytest.mark.parametrize("position", [0, 20_000])
def test_every_entity_is_wholly_old_or_wholly_new_and_the_next_run_resumes(
    store, repository, old, new, dumps, position
):
    before, after = dumps
    export(store, old)

    kill_exporter(store, repository, position)

    found = dump(store)
    fresh = sum(found[key] == after[key] for key in after)
    assert all(fields in (before[key], after[key]) for key, fields in found.items())
    assert found.keys() == before.keys()
    report = verify(store, new)
    assert report.is_incomplete
    assert report.record.snapshot_id == "s2"
    assert position <= report.record.position <= fresh < ROWS
    assert fresh > 0

    result = export(store, new, "s2")

    assert result.resumed_from == report.record.position
    assert result.rows == ROWS - result.resumed_from
    assert verify(store, new).is_equal
    assert read_record(store, PROJECT, "clicks").is_complete


def kill_exporter(store, repository, position):
    """Kill a process that exports the new snapshot, a moment after it has marked a position."""
    command = [sys.executable, "-c", EXPORTER, f"unix://{store.socket_path}", str(ROWS)]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) as process:
        record = read_record(store, PROJECT, "clicks")
        while record.snapshot_id != "s2" or record.position < position:
            assert process.poll() is None, "it failed"
            record = read_record(store, PROJECT, "clicks")
        time.sleep(0.05)
        process.kill()
        assert process.stdout.read() == "", "it was not in the middle"


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def three(shop):
    """Snapshots of users 0 to 6,000, 3,000 to 9,000 with another value each, and 5,000 to 11,000."""
    first = snapshot(6_000)
    changed = snapshot(6_000, first=3_000)
    changed = replaced(changed, "count_7d", {user: -user for user in range(9_000)})
    last = snapshot(6_000, first=5_000)
    return [shop.publish(day, rows) for day, rows in enumerate((first, changed, last))]


#: Milliseconds after the first mark, each thousand rows taking 200: among rows, and among the deletes behind them.
MOMENTS = [0, 400, 900, 1_250]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_difference_goes_on_and_ends_equal(store, shop, three, repository, moment):
    shop.export(store, three[0])

    kill_after(store, shop, three[1], repository, moment)

    record = read_record(store, PROJECT, "clicks")
    assert not record.is_complete
    assert (record.base.snapshot_id, record.differing) == (three[0].snapshot_id, 6_000)
    assert not shop.verify(store, three[1]).is_equal
    result = shop.export(store, three[1], epoch=1)
    assert (result.changed, result.resumed_from) == (6_000, record.position)
    assert result.rows == 6_000 - record.position
    assert shop.verify(store, three[1]).is_equal
    assert len(dump(store)) == 6_000


@pytest.mark.parametrize("moment", MOMENTS[1::2])
def test_after_a_killed_difference_another_job_takes_all_of_it_over(
    store, shop, three, repository, moment
):
    shop.export(store, three[0])
    kill_after(store, shop, three[1], repository, moment)

    result = shop.export(store, three[2], epoch=2)

    assert result.changed is None
    assert "has not finished" in result.reason
    assert shop.verify(store, three[2]).is_equal
    assert len(dump(store)) == 6_000


def test_where_the_difference_cannot_be_worked_out_again_every_row_is_written(
    store, shop, three, repository
):
    shop.export(store, three[0])
    kill_after(store, shop, three[1], repository, 400)
    record = read_record(store, PROJECT, "clicks")
    forgotten = record.base.model_copy(update={"content": "another"})
    with store.client() as client:
        doubted = record.model_copy(update={"base": forgotten})
        client.hset(live_key(PROJECT), "clicks", doubted.model_dump_json())

    result = shop.export(store, three[1], epoch=1)

    assert (result.changed, result.resumed_from, result.rows) == (None, 0, 6_000)
    assert shop.verify(store, three[1]).is_equal
    assert len(dump(store)) == 6_000


def kill_after(store, shop, snapshot, repository, moment):
    """Kill a process that exports the snapshot, some milliseconds after its first mark."""
    deadline = time.monotonic() + 30
    with exporter(store, shop, snapshot, repository, epoch=1, pace=0.2) as process:
        record = read_record(store, PROJECT, "clicks")
        while record.snapshot_id != snapshot.snapshot_id or record.position == 0:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "it never began"
            record = read_record(store, PROJECT, "clicks")
        time.sleep(moment / 1_000)
        process.kill()
        assert process.stdout.read() == "", "it was not in the middle"


def test_a_killed_server_is_a_clear_error_and_the_rerun_resumes(server, old):
    pid = server.start().pid

    def batches():
        for number, batch in enumerate(old.to_batches(max_chunksize=6_000)):
            if number == 5:
                import psutil

                time.sleep(1.1)  # appendfsync everysec
                psutil.Process(pid).kill()
            yield batch

    reader = pa.RecordBatchReader.from_batches(old.schema, batches())
    with pytest.raises(OnlineUnreachable, match="no online store answers at unix://"):
        export_view(server.target, job(old), reader, vanished=None)

    assert not server.status().running
    server.start()
    record = read_record(server.target, PROJECT, "clicks")
    assert not record.is_complete
    assert record.position >= 20_000
    assert export(server.target, old).resumed_from == record.position
    assert verify(server.target, old).is_equal


def test_an_unreachable_store_is_named_at_once(tmp_path):
    absent = OnlineTarget(socket_path=str(tmp_path / "absent.sock"), password="secret")
    started = time.perf_counter()

    for attempt in (export, verify):
        with pytest.raises(OnlineUnreachable, match=r"unix://:\*\*\*@.*absent.sock") as caught:
            attempt(absent, snapshot(1))
        assert "FEATMILL_REDIS_URL" in caught.value.hint

    assert time.perf_counter() - started < 2
