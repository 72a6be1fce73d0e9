"""What `verify` shows of a difference is readable, whatever the bytes are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featmill.contract.types import OnlineKind
from featmill.online import codec
from featmill.online.decode import event_time_text, key_text, value_text
from featmill.online.plan import plan_view
from tests.unit.online.tables import feast_time, feast_values, feature_table


@pytest.mark.feast
@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (-5, OnlineKind.INT64, "-5"),
        (-5, OnlineKind.INT32, "-5"),
        (0.1, OnlineKind.DOUBLE, "0.1"),
        (0.1, OnlineKind.FLOAT, "0.100000001"),
        (True, OnlineKind.BOOL, "true"),
        ("é\n", OnlineKind.STRING, '"é\\n"'),
        (b"\x01\xff", OnlineKind.BYTES, "0x01ff"),
        (
            datetime(1969, 12, 31, tzinfo=UTC),
            OnlineKind.UNIX_TIMESTAMP,
            "1969-12-31T00:00:00+00:00",
        ),
        (None, OnlineKind.DOUBLE, "NULL"),
    ],
)
def test_a_value_reads_as_it_was_published(value, kind, text):
    assert value_text(feast_values([value], kind)[0]) == text


def test_absent_and_foreign_bytes_are_shown_as_such():
    assert value_text(None) == "missing"
    assert event_time_text(None) == "missing"
    assert value_text(b"\xff\x01") == "0xff01"
    assert value_text(b"\x29\x01") == "0x2901"
    assert value_text(b"\x12\x01\xff") == "0x1201ff"
    assert event_time_text(b"\x08") == "0x08"
    assert event_time_text(b"\x18\x01") == "0x1801"


@pytest.mark.feast
@given(st.datetimes(timezones=st.just(UTC)))
def test_an_event_time_reads_as_it_was(moment):
    assert event_time_text(feast_time(moment)) == moment.isoformat()


def test_a_key_reads_as_its_columns():
    keys = {"user": "VARCHAR", "at": "TIMESTAMPTZ", "raw": "BLOB", "n": "INTEGER"}
    plan = plan_view("shop", feature_table(keys=keys))
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=5)
    batch = pa.record_batch(
        {
            "user": pa.array(["x"]),
            "at": pa.array([moment], pa.timestamp("us", "UTC")),
            "raw": pa.array([b"\x00"]),
            "n": pa.array([-1], pa.int32()),
        }
    )

    key = codec.redis_keys(plan, batch)[0].as_py()

    assert key_text(plan, key) == 'at=2026-01-01T00:00:05+00:00, n=-1, raw=0x00, user="x"'
    assert key_text(plan, b"short") == "0x73686f7274"
