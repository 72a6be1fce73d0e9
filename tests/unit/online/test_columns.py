"""What the codec and Feast write, `columns` reads back: one value at a time and many at once alike."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featmill.contract.types import OnlineKind, parse_type
from featmill.errors import EncodingError
from featmill.online import codec
from featmill.online.columns import (
    ColumnsDecoder,
    decode_array,
    decode_event_times,
    decode_values,
)
from featmill.online.plan import plan_view
from featmill.online.wire_format import LIST_TAGS, TAGS
from tests.unit.online.tables import feast_time, feast_values, feature_table, parsed

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=90)
LONG = st.builds(lambda text, times: text * times, TEXT, st.sampled_from([1, 200]))
WHOLE = st.datetimes(timezones=st.just(UTC)).map(lambda d: d.replace(microsecond=0))
INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300)
TIME = pa.timestamp("us", "UTC")

#: Contract type, the Arrow type it arrives in, values, and the Arrow type it is read as.
SCALARS = [
    ("BOOLEAN", pa.bool_(), st.booleans(), pa.bool_()),
    ("TINYINT", pa.int8(), st.integers(-128, 127), pa.int32()),
    ("INTEGER", pa.int32(), st.integers(-(2**31), 2**31 - 1), pa.int32()),
    ("UINTEGER", pa.uint32(), st.integers(0, 2**32 - 1), pa.int64()),
    ("BIGINT", pa.int64(), INT64, pa.int64()),
    ("FLOAT", pa.float32(), st.floats(width=32), pa.float32()),
    ("DOUBLE", pa.float64(), st.floats(), pa.float64()),
    ("VARCHAR", pa.string(), LONG, pa.large_string()),
    ("BLOB", pa.binary(), st.binary(max_size=300), pa.large_binary()),
    ("DATE", pa.date32(), st.dates(), pa.date32()),
    ("TIMESTAMPTZ", TIME, WHOLE, TIME),
]


def many(values):
    """So many of the same that they are decoded at once."""
    return values * (200 // len(values) + 1)


def optional(strategy):
    return st.lists(st.none() | strategy, min_size=1, max_size=20)


def written(sql_type, values, arrow):
    """The stored bytes of values, by the codec."""
    plan = plan_view("shop", feature_table(features={"x": sql_type}))
    batch = pa.record_batch(
        {
            "user_id": pa.array(range(len(values)), pa.int64()),
            "feature_at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * len(values), TIME),
            "x": pa.array(values, arrow),
        }
    )
    return [command[5] for command in parsed(codec.write_commands(plan, batch))]


def same(value):
    """A value that equals its copy; of a DOUBLE column NaN is NULL."""
    return None if isinstance(value, float) and math.isnan(value) else value


def comparable(lists):
    """Lists in which NaN equals NaN."""
    return [v if v is None else [repr(e) if isinstance(e, float) else e for e in v] for v in lists]


@pytest.mark.parametrize(("sql_type", "arrow", "values", "read_as"), SCALARS)
@settings(max_examples=40)
@given(data=st.data())
def test_each_type_reads_back_as_it_was_published(sql_type, arrow, values, read_as, data):
    found = data.draw(optional(values))
    column = parse_type(sql_type)
    replies = written(sql_type, found, arrow)
    expected = [same(value) for value in found]

    assert decode_values(column, replies) == expected
    assert decode_values(column, many(replies)) == many(expected)
    array = decode_array(column, many(replies))
    assert array.type == read_as
    array.validate(full=True)
    assert array.to_pylist() == many(expected)


@pytest.mark.feast
@pytest.mark.parametrize(("sql_type", "arrow", "values", "read_as"), SCALARS)
@settings(max_examples=15)
@given(data=st.data())
def test_what_feast_writes_is_read(sql_type, arrow, values, read_as, data):
    found = data.draw(optional(values))
    column = parse_type(sql_type)
    replies = feast_values(found, column.kind)
    expected = [same(value) for value in found]

    assert decode_values(column, [*replies, None]) == [*expected, None]
    assert decode_values(column, [*many(replies), None]) == [*many(expected), None]


@pytest.mark.parametrize(("sql_type", "arrow", "values", "read_as"), SCALARS)
@settings(max_examples=40)
@given(data=st.data())
def test_each_list_reads_back_as_it_was_published(sql_type, arrow, values, read_as, data):
    found = data.draw(optional(st.lists(values, max_size=5) | st.lists(values, max_size=40)))
    column = parse_type(f"{sql_type}[]")
    replies = written(f"{sql_type}[]", found, pa.list_(arrow))
    expected = comparable(found)

    assert comparable(decode_values(column, replies)) == expected
    assert comparable(decode_values(column, many(replies))) == many(expected)
    array = decode_array(column, many(replies))
    assert array.type == pa.list_(read_as)
    array.validate(full=True)
    assert comparable(array.to_pylist()) == many(expected)


@pytest.mark.parametrize("sql_type", ["TIMESTAMPTZ[]", "LIST(TIMESTAMPTZ)"])
def test_a_list_of_moments_in_microseconds_reads_back(sql_type):
    moment = datetime(2026, 3, 1, 12, 0, 0, 7, UTC)
    micros = int(moment.timestamp()) * 10**6 + 7
    column = parse_type(sql_type).stored_as("int64")
    replies = written("BIGINT[]", [[micros], None, []], pa.list_(pa.int64()))

    assert decode_values(column, replies) == [[moment], None, []]
    assert decode_values(column, many(replies)) == many([[moment], None, []])
    assert decode_array(column, replies).to_pylist() == [[moment], None, []]


@given(optional(st.datetimes(timezones=st.just(UTC))))
def test_a_timestamp_kept_in_microseconds_is_a_moment(moments):
    column = parse_type("TIMESTAMPTZ").stored_as("int64")
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    micros = [
        None
        if m is None
        else (m - epoch).days * 86_400_000_000 + (m - epoch).seconds * 10**6 + m.microsecond
        for m in moments
    ]
    replies = written("BIGINT", micros, pa.int64())

    assert decode_values(column, replies) == moments
    assert decode_values(column, many(replies)) == many(moments)
    assert decode_array(column, replies).to_pylist() == moments


@given(st.lists(st.none() | st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=20))
def test_event_times_are_microseconds_and_a_missing_row_has_none(moments):
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    replies = [None if m is None else feast_time(m) for m in [*moments, epoch]]
    micros = [
        None
        if m is None
        else (m - epoch).days * 86_400_000_000 + (m - epoch).seconds * 10**6 + m.microsecond
        for m in [*moments, epoch]
    ]

    assert decode_event_times(replies) == micros
    assert decode_event_times(many(replies)) == many(micros)


def test_a_decimal_is_a_double_or_its_text():
    narrow = written("DECIMAL(15, 2)", [Decimal("-0.07"), None], pa.decimal128(15, 2))
    wide = written("DECIMAL(16, 2)", [Decimal("-0.07"), None], pa.decimal128(16, 2))

    assert decode_values(parse_type("DECIMAL(15, 2)"), narrow) == [-0.07, None]
    assert decode_values(parse_type("DECIMAL(16, 2)"), wide) == ["-0.07", None]


@pytest.mark.feast
def test_feasts_number_for_a_null_timestamp_is_none():
    reply = b"\x40" + b"\x80" * 9 + b"\x01"

    for times in (1, 200):
        assert decode_values(parse_type("TIMESTAMP"), [reply] * times) == [None] * times
        assert decode_values(parse_type("DATE"), [reply] * times) == [None] * times
    assert decode_array(parse_type("DATE"), [reply]).to_pylist() == [None]
    assert decode_array(parse_type("TIMESTAMP"), [reply]).to_pylist() == [None]


@pytest.mark.parametrize(
    ("sql_type", "reply"),
    [
        ("BIGINT", b"\x18\x01"),
        ("BIGINT", b"\x20"),
        ("BIGINT", b"\x20\x80"),
        ("BIGINT", b"\x20\x01\x01"),
        ("BIGINT", b"\x20\x80\x01\x01"),
        ("BIGINT", b"\x20" + b"\x80" * 10 + b"\x01"),
        ("BOOLEAN", b"\x39\x01"),
        ("DOUBLE", b"\x29" + bytes(7)),
        ("DOUBLE", b"\x35" + bytes(8)),
        ("DOUBLE", b"\x35" + bytes(4)),
        ("FLOAT", b"\x29" + bytes(4)),
        ("VARCHAR", b"\x12"),
        ("VARCHAR", b"\x12\x02a"),
        ("VARCHAR", b"\x12\x01ab"),
        ("VARCHAR", b"\x0a\x01a"),
        ("VARCHAR", b"\x12\x80"),
        ("VARCHAR", b"\x12\x01\xff"),
        ("BLOB", b"\x12\x01a"),
        ("BLOB", b"\x0a\x02a"),
        ("TIMESTAMP", b"\x40" + b"\xff" * 8 + b"\x7f"),
        ("DATE", b"\x20\x01"),
        ("BIGINT[]", b"\x72"),
        ("BIGINT[]", b"\x72\x01"),
        ("BIGINT[]", b"\x6a\x00"),
        ("BIGINT[]", b"\x72\x03\x0a\x01\x80"),
        ("BIGINT[]", b"\x72\x03\x0b\x01\x00"),
        ("BIGINT[]", b"\x72\x03\x0a\x02\x00"),
        ("BIGINT[]", b"\x72\x0d\x0a\x0b" + b"\x80" * 10 + b"\x01"),
        ("DOUBLE[]", b"\x7a\x03\x0a\x01\x80"),
        ("FLOAT[]", b"\x82\x02\x00"),
        ("VARCHAR[]", b"\x62\x03\x0a\x02a"),
        ("VARCHAR[]", b"\x62\x03\x0b\x01a"),
        ("VARCHAR[]", b"\x62\x03\x0a\x01\xff"),
        ("VARCHAR[]", b"\x62\x0c\x0a" + b"\xff" * 9 + b"\x01a"),
        ("BLOB[]", b"\x62\x03\x0a\x01a"),
        ("DATE[]", b"\x92\x01\x0c\x0a\x0a" + b"\xff" * 8 + b"\x7f\x00"),
    ],
)
@pytest.mark.parametrize("before", [0, 199])
def test_bytes_of_another_type_are_refused_by_column(sql_type, reply, before):
    column = parse_type(sql_type)
    good = {"FLOAT": 0.5, "DOUBLE": 0.5, "VARCHAR": "a", "BLOB": b"a"}.get(sql_type)
    arrow = {"FLOAT": pa.float32()}.get(sql_type)
    if sql_type.endswith("[]"):
        good, arrow = [], pa.list_(pa.null())
    replies = written(sql_type, [good] * before, arrow) if before else []

    with pytest.raises(EncodingError, match="column 'x'"):
        decode_values(column, [*replies, reply], "x")
    with pytest.raises(EncodingError, match="column 'x'"):
        decode_array(column, [*replies, reply], "x")


@pytest.mark.parametrize(
    "reply", [b"\x18\x01", b"\x08", b"\x08\x80", b"\x10\x01\x08\x01", b"\x08\x01z"]
)
@pytest.mark.parametrize("times", [1, 200])
def test_bytes_that_are_no_event_time_are_refused(reply, times):
    with pytest.raises(EncodingError, match="no Timestamp"):
        decode_event_times([reply] * times)


@given(st.data())
@settings(max_examples=1500)
def test_one_and_many_agree_on_any_bytes(data):
    sql_type = data.draw(st.sampled_from([f"{row[0]}{e}" for row in SCALARS for e in ("", "[]")]))
    column = parse_type(sql_type)
    tag = LIST_TAGS[column.kind] if column.is_list else bytes([TAGS[column.kind]])
    part = st.sampled_from([0, 1, 2, 3, 0x0A, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
    reply = tag + bytes(data.draw(st.lists(part, max_size=13)))

    def outcome(times):
        try:
            return repr(decode_values(column, [reply] * times)[-1])
        except EncodingError:
            return EncodingError

    def arrow():
        try:
            return repr(decode_array(column, [reply])[0].as_py())
        except EncodingError:
            return EncodingError

    assert outcome(1) == outcome(200)
    if column.kind is not OnlineKind.UNIX_TIMESTAMP:  # Arrow's moments reach further than Python's
        assert outcome(1) == arrow()


@pytest.mark.parametrize("sql_type", ["BIGINT", "BIGINT[]"])
def test_integers_of_every_length_read_back(sql_type):
    edges = [sign * 2**bit + near for bit in range(63) for near in (-1, 0, 1) for sign in (1, -1)]
    values = [*edges, 2**63 - 1, -(2**63)]
    given_ = values if sql_type == "BIGINT" else [values, *([value] for value in values)]
    replies = written(
        sql_type, given_, pa.int64() if sql_type == "BIGINT" else pa.list_(pa.int64())
    )

    assert decode_values(parse_type(sql_type), replies) == given_
    assert [decode_values(parse_type(sql_type), [reply])[0] for reply in replies] == given_


@pytest.mark.parametrize("rows", [0, 1, 30, 200])
def test_columns_decoded_together_are_those_decoded_apart(rows):
    types = ["BIGINT", "DOUBLE", "BIGINT", "VARCHAR", "BIGINT", "DATE", "BIGINT[]", "DOUBLE"]
    made = {
        "BIGINT": b"\x20\x07",
        "DOUBLE": b"\x29" + bytes(8),
        "VARCHAR": b"\x12\x01a",
        "DATE": b"\x40\x00",
        "BIGINT[]": b"\x72\x03\x0a\x01\x07",
    }
    replies = [
        [made[name] if (row + at) % 3 else None for row in range(rows)]
        for at, name in enumerate(types)
    ]
    columns = [(parse_type(name), f"c{at}") for at, name in enumerate(types)]

    found = ColumnsDecoder(columns).values(replies)

    assert found == [decode_values(c, r) for (c, _), r in zip(columns, replies, strict=True)]


@pytest.mark.parametrize("rows", [1, 200])
def test_of_columns_decoded_together_the_wrong_one_is_named(rows):
    columns = [(parse_type("BIGINT"), name) for name in ("a", "b", "c")]
    replies: list[list[Any]] = [
        [b"\x20\x07"] * rows,
        [b"\x20\x07"] * (rows - 1) + [b"\x18\x07"],
        [None] * rows,
    ]

    with pytest.raises(EncodingError, match="column 'b'"):
        ColumnsDecoder(columns).values(replies)


def test_no_replies_are_no_values():
    assert decode_values(parse_type("BIGINT"), []) == []
    assert decode_event_times([]) == []
    assert decode_array(parse_type("DATE"), []) == pa.array([], pa.date32())


def test_all_absent_is_all_none():
    for sql_type, *_ in SCALARS:
        assert decode_values(parse_type(sql_type), [None, b""] * 100) == [None] * 200
        assert decode_array(parse_type(sql_type), [None, b""]).to_pylist() == [None, None]


def test_a_date_reads_as_a_date():
    assert decode_values(
        parse_type("DATE"), written("DATE", [date(1969, 12, 31)], pa.date32())
    ) == [date(1969, 12, 31)]
