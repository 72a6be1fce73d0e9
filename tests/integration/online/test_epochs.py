"""Of two promotions the newer one wins, whoever writes faster (rule 21)."""

from __future__ import annotations

import signal
import threading
import time
from unittest.mock import patch

import pyarrow as pa
import pytest

from exporters.redis import claim, export_view
from featmill.errors import OnlineRefused
from featmill.online.live import read_record
from tests.integration.online.lakes import Shop, exporter, replaced
from tests.integration.online.publications import PROJECT, dump, export, job, snapshot, verify

pytestmark = pytest.mark.redis

ROWS = 12_000


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def three(shop):
    """Three snapshots: of all users, with every value changed, with some changed and other users."""
    old = snapshot(ROWS)
    changed = replaced(old, "count_7d", {user: -user - 1 for user in range(ROWS)})
    last = snapshot(ROWS - 1_000, day=3, first=1_000)
    return [shop.publish(day, rows) for day, rows in enumerate((old, changed, last))]


def test_an_older_promotion_is_refused_and_changes_nothing(store, shop, three):
    shop.export(store, three[1], epoch=5)
    before = dump(store)

    for snap in (three[0], three[1]):
        with pytest.raises(OnlineRefused, match="clicks belongs to promotion 5") as caught:
            shop.export(store, snap, epoch=4, force=True)
        assert "featmill live" in caught.value.hint

    assert dump(store) == before
    assert read_record(store, PROJECT, "clicks").epoch == 5


def test_a_rollback_is_a_newer_promotion(store, shop, three):
    for epoch, snap in enumerate((three[0], three[2], three[0])):
        result = shop.export(store, snap, epoch=epoch)
        assert shop.verify(store, snap).is_equal

    assert (result.changed, result.deleted) == (ROWS, 0)
    assert read_record(store, PROJECT, "clicks").epoch == 2


def test_what_is_live_already_belongs_to_the_newer_promotion_from_then_on(store, shop, three):
    shop.export(store, three[0], epoch=1)

    assert shop.export(store, three[0], epoch=2).unchanged
    assert read_record(store, PROJECT, "clicks").epoch == 2
    with pytest.raises(OnlineRefused, match="promotion 2"):
        shop.export(store, three[1], epoch=1)


@pytest.mark.parametrize("writes", ["the difference", "every row"])
def test_a_newer_promotion_ends_an_older_one_that_is_writing(store, shop, three, writes):
    shop.export(store, three[0], epoch=1, force=writes == "every row")
    stopped: list[OnlineRefused] = []

    def older():
        try:
            shop.export(store, three[1], epoch=2, pace=0.25, force=writes == "every row")
        except OnlineRefused as error:
            stopped.append(error)

    thread = threading.Thread(target=older)
    thread.start()
    wait_for(store, lambda record: record.epoch == 2 and record.position > 0)
    result = shop.export(store, three[2], epoch=3)
    thread.join(timeout=30)

    assert not thread.is_alive()
    assert result.changed is None
    assert "has not finished" in result.reason
    assert "promotion 3" in stopped[0].message
    assert shop.verify(store, three[2]).is_equal
    assert len(dump(store)) == ROWS - 1_000


@pytest.mark.parametrize("position", [0, 4_000])
def test_a_paused_writer_that_wakes_up_changes_nothing(store, shop, three, repository, position):
    shop.export(store, three[0], epoch=1)
    with exporter(store, shop, three[1], repository, epoch=2) as process:
        wait_for(store, lambda record: record.epoch == 2 and record.position >= position)
        process.send_signal(signal.SIGSTOP)
        shop.export(store, three[2], epoch=3)
        finished = dump(store)
        record = read_record(store, PROJECT, "clicks")
        process.send_signal(signal.SIGCONT)
        said = process.communicate(timeout=30)[1]

    assert process.returncode != 0
    assert "clicks belongs to promotion 3" in said
    assert dump(store) == finished
    assert read_record(store, PROJECT, "clicks") == record
    assert shop.verify(store, three[2]).is_equal


def test_a_run_that_was_given_up_is_ended_by_the_one_that_goes_on(store, shop, three, repository):
    """A retry, of the same promotion: the one that hangs must not write behind it."""
    shop.export(store, three[0], epoch=1)
    with exporter(store, shop, three[1], repository, epoch=2) as process:
        wait_for(store, lambda record: record.epoch == 2 and record.position >= 3_000)
        process.send_signal(signal.SIGSTOP)
        result = shop.export(store, three[1], epoch=2)
        process.send_signal(signal.SIGCONT)
        said = process.communicate(timeout=30)[1]

    assert result.resumed_from >= 3_000
    assert result.changed == ROWS
    assert process.returncode != 0
    assert "OnlineRefused" in said
    assert shop.verify(store, three[1]).is_equal


def test_where_connections_cannot_be_ended_both_stop_and_nothing_is_trusted(
    store, shop, three, monkeypatch
):
    """A server may not allow CLIENT KILL: the older one finds out at its next mark."""
    monkeypatch.setattr(claim, "end_connections", lambda *_: None)
    shop.export(store, three[0], epoch=1)
    stopped: list[OnlineRefused] = []

    def older():
        try:
            shop.export(store, three[1], epoch=2, pace=0.3)
        except OnlineRefused as error:
            stopped.append(error)

    thread = threading.Thread(target=older)
    thread.start()
    wait_for(store, lambda record: record.epoch == 2 and record.position > 0)
    with pytest.raises(OnlineRefused, match="both have stopped"):
        shop.export(store, three[2], epoch=3, pace=0.3)
    thread.join(timeout=30)

    assert not thread.is_alive()
    assert "promotion 3" in stopped[0].message
    record = read_record(store, PROJECT, "clicks")
    assert (record.is_complete, record.position, record.epoch) == (False, 0, 3)
    assert shop.export(store, three[2], epoch=3).changed is None
    assert shop.verify(store, three[2]).is_equal
    assert len(dump(store)) == ROWS - 1_000


def test_what_a_late_older_writer_left_is_replaced_whole(store):
    """The newer one finished in between: the older one's mark finds that, and the next run cleans up after it."""
    rows, late = snapshot(100), snapshot(60_000, day=1, first=50)

    def interrupted():
        for number, batch in enumerate(late.to_batches(max_chunksize=10_000)):
            if number == 3:
                with patch.object(claim, "end_connections"):
                    export(
                        store, rows, "s2", epoch=2, vanished=lambda _: late.slice(0, 0).to_reader()
                    )
            yield batch

    reader = pa.RecordBatchReader.from_batches(late.schema, interrupted())
    with pytest.raises(OnlineRefused, match="promotion 2"):
        export_view(store, job(late, epoch=1), reader)

    report = verify(store, rows)
    assert report.is_incomplete
    assert set(report.record.replaces) >= {"s1"}
    export(
        store,
        rows,
        "s2",
        epoch=2,
        vanished=lambda _: late.slice(50).select(["user_id"]).to_reader(),
    )
    assert verify(store, rows).is_equal


def test_a_reader_never_sees_two_snapshots_in_one_view(store, shop):
    """Rule 21: every value of a view carries its snapshot's number, also where only some of them change."""
    days = [shop.publish(day, snapshot(5_000, day=day)) for day in range(4)]
    shop.export(store, days[0], epoch=0)
    keys = list(dump(store))[::50]
    fields = next(iter(dump(store).values())).keys()
    alone = {tuple(sorted(found.items())) for found in dump(store).values()}
    for epoch, day in enumerate(days[1:], start=1):
        shop.export(store, day, epoch=epoch)
        alone |= {tuple(sorted(found.items())) for found in dump(store).values()}
    assert len(fields) == 4
    mixed, seen, done = [], 0, threading.Event()

    def read():
        nonlocal seen
        with store.client() as client:
            while not done.is_set():
                for key in keys:
                    found = client.hgetall(key)
                    seen += 1
                    if tuple(sorted(found.items())) not in alone:
                        mixed.append((key, found))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for epoch, day in enumerate([*days, *days[::-1]], start=10):
            shop.export(store, day, epoch=epoch, force=epoch == 15)
    finally:
        done.set()
        reader.join(timeout=30)

    assert mixed == []
    assert seen > 200


def wait_for(store, holds):
    """Wait until the live record is as wanted."""
    deadline = time.monotonic() + 30
    while not holds(read_record(store, PROJECT, "clicks")):
        assert time.monotonic() < deadline, "it never came to it"
        time.sleep(0.002)
