"""Windows from an event log of ours, with its index and without."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import duckdb
import pytest

from featmill.contract.catalog import Feature, Window
from featmill.contract.types import parse_type
from featmill.errors import ContractError, LakeError, SpineError
from featmill.training.windows_at import WindowsRequest, index_events, windows_at
from featmill.warehouse.event_log import EventSource, append_events
from featmill.warehouse.event_log_index import event_index_root
from featmill.warehouse.lake import Lake

CUT_OFF = datetime(2026, 1, 3, tzinfo=UTC)
SPINE = """
    SELECT i AS label, i % 6 AS user_id, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_hours(i) AS label_at
    FROM range(100) AS t (i)
"""
PAID = Window(
    aggregate="sum",
    value="price * 2",
    length=timedelta(hours=5),
    hop=timedelta(hours=1),
    delay=timedelta(minutes=30),
    where="kind = 'a'",
)


def feature(name: str, kind: str, window: Window | None) -> Feature:
    return Feature(
        name=name,
        type=parse_type(kind),
        description="",
        has_default=False,
        default=None,
        ignore_nulls=False,
        classification="internal",
        window=window,
    )


@pytest.fixture
def connection():
    with duckdb.connect(config={"threads": 1}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        opened.execute(
            """
            CREATE TABLE shop AS SELECT
                i % 5 AS user_id, TIMESTAMP '2026-01-01' + to_minutes(i * 7) AS bought_at,
                bought_at + INTERVAL 1 HOUR AS ingested_at, 'e' || i AS id, (i / 4)::DECIMAL(8, 2) AS price,
                CASE WHEN i % 3 = 0 THEN 'a' ELSE 'b' END AS kind
            FROM range(500) AS t (i)
            """
        )
        yield opened


@pytest.fixture
def log(connection, tmp_path):
    source = EventSource(
        table="user__spend",
        tenant="default",
        version="1",
        relation="shop",
        keys=("user_id",),
        event_at="bought_at",
        event_id="id",
        values=("price * 2",),
        conditions=("kind = 'a'",),
    )
    return append_events(connection, Lake(tmp_path / "lake"), source, CUT_OFF)


def request(log, *windows: Feature) -> WindowsRequest:
    return WindowsRequest("spend", SPINE, "label_at", ("user_id",), log, windows, status=True)


PAID_5H = feature("paid_5h", "decimal(18, 2)", PAID)
KINDS = feature("prices", "bigint", PAID.model_copy(update={"aggregate": "count_distinct"}))


def test_the_log_is_read_up_to_its_cut_off_and_its_index_changes_nothing(connection, log):
    """Rules 4, 9 and 20; the spine's times carry their zone, the events' are naive."""
    asked = request(log, PAID_5H, KINDS)
    by_sql = windows_at(connection, asked, engine="sql").reader().read_all()
    expected = connection.execute(
        f"""
        SELECT sum(price * 2) FILTER (
                WHERE kind = 'a' AND bought_at < moment - INTERVAL 30 MINUTE
                AND bought_at >= date_trunc('hour', moment - INTERVAL 330 MINUTE)
            )::DECIMAL(18, 2), count(bought_at) > 0
        FROM (SELECT *, timezone('UTC', label_at) AS moment FROM ({SPINE})) AS spine
        LEFT JOIN shop ON shop.user_id = spine.user_id AND bought_at < moment
            AND ingested_at <= TIMESTAMP '2026-01-03'
        GROUP BY label ORDER BY label
        """
    ).fetchall()

    cold = windows_at(connection, asked)
    kept = index_events(connection, "spend", ("user_id",), log, asked.features)
    indexed = windows_at(connection, asked)

    assert [row["spend__paid_5h"] for row in by_sql.to_pylist()] == [paid for paid, _ in expected]
    status = ["ok" if seen else "missing" for _, seen in expected]
    assert by_sql.column("spend__status").to_pylist() == status
    assert {"ok", "missing"} == set(status)
    assert (cold.engine, indexed.engine) == ("kernel", "kernel")
    assert cold.why.startswith("events sorted in this call")
    assert (indexed.why, kept.parent) == (f"event index at {kept}", event_index_root(log.location))
    assert cold.reader().read_all().equals(by_sql)
    assert indexed.reader().read_all().equals(by_sql)


def test_an_entity_that_is_known_without_an_event_has_empty_windows(connection, log):
    """Rule 20, by both engines: user 5 has no event; it is known from after 10:00 on, user 1 by its events too."""
    known = "SELECT u::INTEGER AS user_id, TIMESTAMP '2026-01-01 10:00' AS known_at FROM unnest([5, 1]) AS t (u)"
    asked = replace(request(log, KINDS, PAID_5H), entities=known)
    plain = windows_at(connection, request(log, KINDS, PAID_5H)).reader().read_all().to_pylist()

    engines: tuple[Literal["sql", "kernel"], ...] = ("sql", "kernel")
    found = [windows_at(connection, asked, engine=e).reader().read_all() for e in engines]

    assert found[0].equals(found[1])
    rows = found[0].to_pylist()
    of_user = [row for label, row in enumerate(rows) if label % 6 == 5]
    assert [row["spend__status"] for row in of_user] == ["missing"] + ["ok"] * 15
    assert {row["spend__prices"] for row in of_user[1:]} == {0}
    assert of_user[0]["spend__prices"] is None
    others = [n for n in range(len(rows)) if n % 6 != 5]
    assert [rows[n] for n in others] == [plain[n] for n in others]


def test_the_index_of_another_cut_off_is_not_used(connection, log):
    index_events(connection, "spend", ("user_id",), log, (PAID_5H,))
    earlier = replace(log, cut_off=CUT_OFF - timedelta(days=1))

    found = windows_at(connection, request(earlier, PAID_5H))

    assert "there is none for the log as it is now" in found.why
    by_sql = windows_at(connection, request(earlier, PAID_5H), engine="sql")
    assert found.reader().read_all().equals(by_sql.reader().read_all())


def test_what_the_log_does_not_hold_is_named(connection, log):
    other = feature("other", "bigint", PAID.model_copy(update={"value": "price"}))

    with pytest.raises(LakeError, match=r"the event log of spend at .* has no column for 'price'"):
        windows_at(connection, request(log, other))


def test_a_feature_without_a_window_is_refused(connection, log):
    with pytest.raises(ContractError, match=r"spend\.plain declares no window"):
        windows_at(connection, request(log, feature("plain", "bigint", None)))


@pytest.mark.parametrize("engine", ["sql", "kernel"])
def test_a_key_spelled_otherwise_in_the_spine_is_refused(connection, log, engine):
    """Rule 16: as a training set does, whose spine must have the column of that very name."""
    asked = request(log, PAID_5H)
    (key,) = asked.keys
    spine = f'SELECT {key} AS "{key.upper()}", * EXCLUDE ({key}) FROM ({asked.spine})'

    with pytest.raises(SpineError, match=f"has no column {key}, it has {key.upper()}"):
        windows_at(connection, replace(asked, spine=spine), engine=engine)
