"""The event index: the same answers as without it, and left alone where it is not what it should be."""

from __future__ import annotations

import json
import shutil
from typing import Any

import duckdb
import numpy as np
import pytest

from featmill.errors import KernelRefused, SpineError, UsageError
from featmill.training.windows_at import How, build_event_index, windows_of

SPINE = (
    "SELECT i % 7 AS code, TIMESTAMP '2026-01-01' + to_hours(i) AS asked_at FROM range(60) AS t (i)",
    "asked_at",
)
EVENTS = """
    CREATE TABLE events AS SELECT
        i % 5 AS code, TIMESTAMP '2026-01-01' + to_minutes(i * 13) AS event_at, event_at AS ingested_at,
        'e' || i AS event_id, nullif(i % 11, 3)::DECIMAL(8, 2) AS eur, nullif('k' || i % 3, 'k2') AS kind
    FROM range(300) AS t (i)
"""


def feature(name: str, kind: str, **declared: object) -> dict[str, object]:
    return {"name": name, "data_type": kind, "window": "12h", **declared}


FEATURES = [
    feature("n", "bigint", aggregate="count", where="kind = 'k1'"),
    feature("eur", "decimal(18, 2)", aggregate="sum", value="eur"),
    feature("most", "decimal(18, 2)", aggregate="max", value="eur"),
    feature("kinds", "bigint", aggregate="count_distinct", value="kind"),
    feature("top", "varchar", aggregate="top", value="kind"),
    feature("since", "bigint", aggregate="time_since_last", value="eur"),
]
VIEW = {
    "name": "load",
    "keys": ["code"],
    "events": "events",
    "event_at": "event_at",
    "ingested_at": "ingested_at",
    "event_id": "event_id",
    "features": FEATURES,
}


@pytest.fixture
def connection():
    with duckdb.connect(config={"threads": 1}) as opened:
        opened.execute(EVENTS)
        yield opened


@pytest.fixture
def built(connection, tmp_path):
    """The folder of one index, of the fingerprint `now`."""
    return build_event_index(connection, VIEW, tmp_path / "index", "now")


def ask(connection, index, view=VIEW, fingerprint="now"):
    """How it was answered, and whether as SQL answers it."""
    found = windows_of(connection, SPINE, view, How("kernel", True, index, fingerprint))
    rows = found.reader().read_all().to_pylist()
    by_sql = windows_of(connection, SPINE, view, How("sql", True)).reader().read_all().to_pylist()
    return found.why, rows == by_sql


def test_the_index_answers_without_the_events(connection, built):
    expected = windows_of(connection, SPINE, VIEW, How("sql")).reader().read_all()
    connection.execute("CREATE OR REPLACE TABLE events AS SELECT * FROM events LIMIT 0")

    found = windows_of(connection, SPINE, VIEW, How("auto", index=built.parent, fingerprint="now"))

    assert (found.engine, found.why) == ("kernel", f"event index at {built}")
    assert found.reader().read_all().equals(expected)


def test_all_that_features_derive_is_in_the_index(built):
    """A reader that had to derive prefix sums again would have sorted nothing and still be slow."""
    derived = json.loads((built / "header.json").read_text())["derived"]

    assert {name.partition("|")[0] for name in derived} >= {"before", "codes", "bits", "total"}


def cut(built):
    file = sorted(built.glob("*.npy"))[0]
    file.write_bytes(file.read_bytes()[:-8])


def unsort(built):
    name = json.loads((built / "header.json").read_text())["files"]["times"][0]
    times = np.load(built / name)
    times[[0, 1]] = times[[1, 0]]
    np.save(built / name, times)


def rewrite(built, **changed):
    header = json.loads((built / "header.json").read_text())
    (built / "header.json").write_text(json.dumps(header | changed))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda built: shutil.rmtree(built), "there is none for the log as it is now"),
        (lambda built: (built / "header.json").unlink(), "there is none for the log as it is now"),
        (lambda built: (built / "header.json").write_text("{"), "its header cannot be read"),
        (lambda built: (built / "header.json").write_text("[]"), "its format is not 1"),
        (lambda built: rewrite(built, format=0), "its format is not 1"),
        (lambda built: rewrite(built, fingerprint="then"), "it is of another event log"),
        (lambda built: rewrite(built, files={}), "it is half written or not ours"),
        (lambda built: (built / "keys.arrow").write_bytes(b"no"), "keys.arrow cannot be read"),
        (cut, "it is half written or not ours"),
        (unsort, "its times are not sorted"),
    ],
    ids=range(10),
)
def test_an_index_that_is_not_what_it_should_be_is_left_alone(connection, built, spoil, why):
    spoil(built)

    told, right = ask(connection, built.parent)

    assert told.startswith("events sorted in this call: the event index at")
    assert why in told
    assert right


def test_an_index_of_another_declaration_is_left_alone(connection, built):
    more = VIEW | {"features": [*FEATURES, feature("x", "bigint", aggregate="sum", value="1")]}
    spine = (SPINE[0].replace("i % 7 AS code", "'k' || i % 4 AS kind"), "asked_at")
    other = VIEW | {"keys": ["kind"]}

    told, right = ask(connection, built.parent, more)

    assert "it has no column for (1)" in told
    assert right
    found = windows_of(connection, spine, other, How("kernel", True, built.parent, "now"))
    assert "its keys are code" in found.why


def test_an_index_of_an_earlier_log_is_replaced(connection, built):
    later = build_event_index(connection, VIEW, built.parent, "later")

    assert list(built.parent.iterdir()) == [later]
    assert "there is none for the log as it is now" in ask(connection, built.parent)[0]
    assert ask(connection, built.parent, fingerprint="later") == (f"event index at {later}", True)


def test_a_sum_beyond_64_bits_goes_to_sql(connection):
    wide = feature("wide", "hugeint", aggregate="sum", value=f"{1 << 62} + i", window="lifetime")
    view = VIEW | {"features": [wide], "events": "(SELECT *, 1 AS i FROM events)"}

    found = windows_of(connection, SPINE, view, How())

    assert found.engine == "sql"
    assert "a sum of it may exceed 64 bits" in found.why
    assert max(r["load__wide"] or 0 for r in found.reader().read_all().to_pylist()) > 1 << 63
    with pytest.raises(KernelRefused, match="may exceed 64 bits"):
        windows_of(connection, SPINE, view, How("kernel"))


def test_an_infinite_time_goes_to_sql(connection):
    forever = feature("m", "timestamp", aggregate="max", value="until")
    view = VIEW | {
        "features": [forever],
        "events": "(SELECT *, 'infinity'::TIMESTAMP AS until FROM events)",
    }

    found = windows_of(connection, SPINE, view, How())

    assert found.engine == "sql"
    assert "an infinite time has no integer form" in found.why


def test_a_key_of_another_kind_is_refused(connection):
    """Rule 16: both types are named."""
    spine = (SPINE[0].replace("i % 7 AS code", "(i % 7)::VARCHAR AS code"), "asked_at")

    with pytest.raises(
        SpineError, match="key code is VARCHAR in the spine and BIGINT in the events"
    ):
        windows_of(connection, spine, VIEW, How())


def test_an_engine_that_is_not_there_is_refused(connection):
    engine: Any = "gpu"

    with pytest.raises(UsageError, match="there is no engine 'gpu'"):
        windows_of(connection, SPINE, VIEW, How(engine))


def test_an_empty_spine_has_an_empty_answer(connection):
    spine = (f"{SPINE[0]} WHERE i < 0", "asked_at")

    by_kernel, by_sql = (
        windows_of(connection, spine, VIEW, how).reader().read_all()
        for how in (How("kernel"), How("sql"))
    )

    assert by_kernel.num_rows == 0
    assert by_kernel.schema == by_sql.schema


def test_without_events_everything_is_missing(connection):
    view = VIEW | {"events": "(SELECT * FROM events LIMIT 0)"}

    by_kernel, by_sql = (
        windows_of(connection, SPINE, view, how).reader().read_all()
        for how in (How("kernel", status=True), How("sql", status=True))
    )

    assert by_kernel.to_pylist() == by_sql.to_pylist()
    assert set(by_kernel.column("load__status").to_pylist()) == {"missing"}
