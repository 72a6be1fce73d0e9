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
from featmill.online.live import read_record
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
