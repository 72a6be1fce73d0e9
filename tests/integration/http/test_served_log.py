"""The served log: what is kept, what is not, and that it can be compared with training data."""

from __future__ import annotations

import dataclasses
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featmill.errors import UsageError
from featmill.serving.api_keys import secret_of
from featmill.serving.reader import FeatureReader
from featmill.serving.served_comparison import TrainedSet, compare
from featmill.serving.served_log import ServedLog
from tests.integration.http.shop import NOW
from tests.integration.http.test_features import asked
from tests.integration.serving.chain import day

pytestmark = pytest.mark.redis


@pytest.fixture
def secret(shop):
    return secret_of(shop.settings.served_secret)


@pytest.fixture
def answers(shop):
    with FeatureReader.open(shop.catalog, shop.target) as reader:
        yield {
            name: reader.read(name, {"user_id": [1, 2, 3, 4]}, as_of=NOW)
            for name in ("churn", "careful")
        } | {"typed": reader.read("typed", {"at": day(1), "code": "x"}, as_of=NOW)}


def test_a_server_keeps_what_it_answered_without_the_keys(shop):
    with shop.client(log_share=1.0) as client:
        asked(client, "churn", {"user_id": [1, 2, 3]})
        asked(client, "churn", {"user_id": [1]})
        asked(client, "churn", {"user_id": ["wrong"]})

    (file,) = (shop.settings.served_log / "churn").glob("*.parquet")
    table = pq.read_table(file).to_pydict()
    assert table["count_7d"] == [5, 0, 7, 5]
    assert table["count_7d__status"] == ["ok", "default", "ok", "ok"]
    assert table["city"] == ["Bern", None, None, "Bern"]
    assert table["as_of"] == [NOW] * 4
    assert table["clicks__snapshot"][0].startswith("20260302")
    assert "user_id" not in table
    # The same entity is the same hash, and nobody can tell whose.
    assert table["entity"][0] == table["entity"][3]
    assert len(set(table["entity"])) == 3
    assert all(len(entity) == 32 for entity in table["entity"])
    file.unlink()


def training_set(tmp_path, **columns):
    path = tmp_path / "training.parquet"
    times = pa.array([NOW] * 3 + [day(1)], pa.timestamp("us", "UTC"))
    keys = pa.array([3, 2, 1, 1], pa.int64())
    pq.write_table(pa.table({"user_id": keys, "at": times, **columns}), path)
    return path


def trained(path):
    """A set as `featmill train` writes it: some of its columns have their view before their name."""
    return TrainedSet(path, ["user_id"], "at", {"count_7d": "clicks__count_7d", "city": "x__city"})


def test_the_log_is_compared_by_feature(tmp_path, answers, secret):
    log = ServedLog(tmp_path / "log", secret, 1.0)
    log.offer(answers["churn"])
    log.close()
    training = training_set(
        tmp_path,
        clicks__count_7d=[7, 6, 5, 1],  # user 2's had expired online
        city=[None, None, "Bern", "Bern"],
        label=[0, 1, 0, 1],
    )

    found = compare(tmp_path / "log" / "churn", trained(training), secret)

    assert (found.logged, found.trained, found.both) == (4, 4, 3)
    count, city = found.features
    assert (count.feature, count.equal, count.different, count.different_and_not_ok) == (
        "count_7d",
        2,
        1,
        1,
    )
    assert (city.equal, city.different, city.share) == (3, 0, 1.0)
    assert found.only_served == ("total",)
    assert found.only_trained == ("label",)


def test_keys_of_every_kind_find_each_other(tmp_path, answers, secret):
    log = ServedLog(tmp_path / "log", secret, 1.0)
    log.offer(answers["typed"])
    log.close()
    path = tmp_path / "training.parquet"
    moment = pa.timestamp("us", "UTC")
    columns = {"code": ["x"], "at": pa.array([day(1)], moment), "asked_at": pa.array([NOW], moment)}
    pq.write_table(pa.table(columns | {"small": [-7], "born": [day(1).date()]}), path)

    training = TrainedSet(path, ["at", "code"], "asked_at", {})
    found = compare(tmp_path / "log" / "typed", training, secret)

    assert [(one.feature, one.equal) for one in found.features] == [("small", 1), ("born", 1)]


def test_another_secret_finds_nobody(tmp_path, answers, secret):
    log = ServedLog(tmp_path / "log", secret, 1.0)
    log.offer(answers["churn"])
    log.close()
    training = training_set(tmp_path, count_7d=[7, 6, 5, 1])

    found = compare(tmp_path / "log" / "churn", trained(training), b"another")

    assert (found.both, found.features[0].share) == (0, None)


def test_what_is_missing_is_said(tmp_path, secret):
    with pytest.raises(UsageError, match="nothing was logged"):
        compare(tmp_path, trained(tmp_path / "x.parquet"), secret)


def test_a_share_is_kept(tmp_path, answers, secret):
    told = {}
    log = ServedLog(
        tmp_path, secret, 0.25, lambda what, times: told.update({what: told.get(what, 0) + times})
    )
    for _ in range(800):
        log.offer(answers["careful"])
    log.close()

    assert 120 < told["kept"] < 290
    assert told.keys() == {"kept"}


def test_it_drops_and_counts_rather_than_wait(tmp_path, answers, secret, monkeypatch):
    told = {"dropped": 0, "kept": 0}
    gate, inside = threading.Event(), threading.Event()
    write = ServedLog._write_file

    def slow(log, service, waiting):
        inside.set()
        gate.wait(20)
        write(log, service, waiting)

    monkeypatch.setattr(ServedLog, "_write_file", slow)
    log = ServedLog(
        tmp_path, secret, 1.0, lambda what, n: told.update({what: told[what] + n}), seconds=0.01
    )
    log.offer(answers["churn"])
    assert inside.wait(10)
    for _ in range(2_000):
        log.offer(answers["churn"])
    dropped = told["dropped"]
    gate.set()
    log.close()

    assert dropped == 2_000 - 1_024
    assert told["kept"] == 1_025


def test_a_disk_that_refuses_ends_nothing(tmp_path, answers, secret):
    told = []
    blocked = tmp_path / "log"
    blocked.write_text("a file where the folder should be")
    log = ServedLog(blocked, secret, 1.0, lambda what, n: told.append((what, n)), seconds=0.01)
    log.offer(answers["churn"])
    log.close()

    assert told == [("failed", 1)]


class Told(dict):
    """What became of answers."""

    def __call__(self, what, times):
        self[what] = self.get(what, 0) + times


def test_an_answer_that_cannot_be_kept_costs_no_other(tmp_path, answers, secret):
    told = Told()
    log = ServedLog(tmp_path, secret, 1.0, told, seconds=0.01)
    good = answers["churn"]
    # Keys that no request has.
    wrong = dataclasses.replace(good, keys={"user_id": [object()] * 4})
    for answer in (good, wrong, good):
        log.offer(answer)
    time.sleep(0.1)
    log.offer(good)
    log.close()

    assert told == {"kept": 3, "failed": 1}
    assert sum(pq.read_metadata(file).num_rows for file in (tmp_path / "churn").iterdir()) == 12


def test_a_log_that_cannot_be_written_goes_on(tmp_path, answers, secret, monkeypatch):
    told, write = Told(), pq.write_table

    def broken(*_args, **_more):
        raise pa.ArrowInvalid("not the disk's fault")

    log = ServedLog(tmp_path, secret, 1.0, told, seconds=0.01)
    monkeypatch.setattr(pq, "write_table", broken)
    log.offer(answers["churn"])
    time.sleep(0.2)
    monkeypatch.setattr(pq, "write_table", write)
    log.offer(answers["churn"])
    log.close()

    assert told == {"failed": 1, "kept": 1}


def test_many_small_answers_find_room(tmp_path, answers, secret):
    told = Told()
    log = ServedLog(tmp_path, secret, 1.0, told, seconds=0.5)
    for _ in range(60):
        for _ in range(100):
            log.offer(answers["churn"])
        time.sleep(0.02)
    log.close(20)

    assert told == {"kept": 6_000}


def test_answers_of_two_releases_are_one_table_each_with_its_snapshot(tmp_path, answers, secret):
    log = ServedLog(tmp_path, secret, 1.0)
    first = answers["churn"]
    views = tuple(dataclasses.replace(view, snapshot="later") for view in first.views)
    log.offer(first)
    log.offer(dataclasses.replace(first, views=views, degraded="deadline"))
    log.close()

    (file,) = (tmp_path / "churn").iterdir()
    table = pq.read_table(file).to_pydict()
    assert table["clicks__snapshot"] == [first.views[0].snapshot] * 4 + ["later"] * 4
    assert table["degraded"] == [None] * 4 + ["deadline"] * 4
    assert table["count_7d"] == [*first.values[0], *first.values[0]]
    assert table["clicks__event_at"][0] == day(2)
