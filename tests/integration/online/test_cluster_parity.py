"""A comparison with a real cluster goes on while slots move, and misses nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from exporters.redis import ParityJob, compare_rows, strays
from featmill.online.codec import redis_keys
from featmill.online.plan import feature_field, plan_view
from featmill.online.slots import key_slot
from tests.integration.online.cluster_servers import running_cluster
from tests.integration.online.publications import PROJECT, TABLE, export, snapshot, verify

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("cluster")]

PLAN = plan_view(PROJECT, TABLE)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def key_of(user):
    return redis_keys(PLAN, snapshot(1, first=user).to_batches()[0])[0].as_py()


def test_slots_that_move_meanwhile_are_followed(running):
    running.flush()
    rows = snapshot(8_000)
    export(running.target, rows)
    source, goal = running.primaries[0], running.primaries[1]
    wrong, extra = 7_777, 90_000
    with running.target.client() as client:
        client.hset(key_of(wrong), feature_field("clicks", "count_7d"), b"\x20\x07")
        client.hset(key_of(extra), b"_ts:clicks", b"")

    def batches():
        for number, batch in enumerate(rows.to_batches(max_chunksize=500)):
            if number in (3, 9):
                running.move_slots(number * 100, number * 100 + 99, source, goal)
            yield batch

    reader = pa.RecordBatchReader.from_batches(rows.schema, batches())
    report = compare_rows(running.target, ParityJob(PROJECT, TABLE), reader)

    slots = {key_slot(key_of(user)) for user in range(8_000)}
    assert slots & {*range(300, 400), *range(900, 1_000)}, "some keys have moved"
    assert report.checked_entities == 8_000
    assert sorted(d.key for d in report.differences) == [f"user_id={wrong}", f"user_id={extra}"]


def test_keys_are_walked_again_where_slots_move_meanwhile(running, monkeypatch):
    running.flush()
    rows = snapshot(500)
    export(running.target, rows)
    with running.target.client() as client:
        client.hset(key_of(90_000), b"_ts:clicks", b"")
    walk, walked = strays.KeyLedger._scan, []

    def moving(ledger, node):
        walk(ledger, node)
        walked.append(node)
        if len(walked) == 1:
            running.move_slots(5_000, 5_050, running.owner(5_000), running.primaries[2])

    monkeypatch.setattr(strays.KeyLedger, "_scan", moving)
    report = verify(running.target, rows)

    assert len(walked) == 6
    assert [d.key for d in report.differences] == ["user_id=90000"]
