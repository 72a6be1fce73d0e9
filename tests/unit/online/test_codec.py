"""The codec writes Feast's bytes ("Feast's Redis format"; the closed type table), and says no."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featmill.contract.types import OnlineKind
from featmill.errors import EncodingError
from featmill.online import codec
from featmill.online.plan import plan_view
from tests.unit.online.tables import (
    feast_field,
    feast_key,
    feast_time,
    feast_values,
    feature_table,
    parsed,
)

pytestmark = pytest.mark.feast

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=90)
LONG = st.builds(lambda text, times: text * times, TEXT, st.sampled_from([1, 30]))
WHOLE = st.datetimes(timezones=st.just(UTC)).map(lambda d: d.replace(microsecond=0))
INT64 = st.integers(-(2**63), 2**63 - 1)


def rows(columns, *, moment=NOON):
    """A record batch: the columns given, with keys 0, 1, ... and an event time unless given."""
    count = len(next(iter(columns.values())))
    given_ = {
        "user_id": pa.array(range(count), pa.int64()),
        "feature_at": pa.array([moment] * count, TIME),
    }
    return pa.record_batch(given_ | columns)


def stored(sql_type, column):
    """What the codec stores for a column declared as `sql_type`."""
    plan = plan_view("shop", feature_table(features={"x": sql_type}))
    batch = rows({"x": column})
    commands = parsed(codec.write_commands(plan, batch))
    read = parsed(codec.expected_replies(plan, batch))
    values = [command[5] for command in commands]
    assert [reply[0] for reply in read] == values, "what verify expects is what export writes"
    assert all(command[4] == feast_field("clicks", "x") for command in commands)
    return values


def optional(strategy):
    return st.lists(st.none() | strategy, min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("sql_type", "arrow", "values"),
    [
        ("BOOLEAN", pa.bool_(), st.booleans()),
        ("TINYINT", pa.int8(), st.integers(-128, 127)),
        ("UTINYINT", pa.uint8(), st.integers(0, 255)),
        ("SMALLINT", pa.int16(), st.integers(-(2**15), 2**15 - 1)),
        ("USMALLINT", pa.uint16(), st.integers(0, 2**16 - 1)),
        ("INTEGER", pa.int32(), st.integers(-(2**31), 2**31 - 1)),
        ("UINTEGER", pa.uint32(), st.integers(0, 2**32 - 1)),
        ("BIGINT", pa.int64(), INT64),
        ("FLOAT", pa.float32(), st.floats(width=32)),
        ("DOUBLE", pa.float64(), st.floats()),
        ("VARCHAR", pa.string(), LONG),
        ("VARCHAR", pa.large_string(), LONG),
        ("VARCHAR", pa.string_view(), LONG),
        ("BLOB", pa.binary(), st.binary(max_size=90)),
        ("BLOB", pa.large_binary(), st.binary(max_size=90)),
        ("BLOB", pa.binary_view(), st.binary(max_size=90)),
        ("DATE", pa.date32(), st.dates()),
        ("TIMESTAMP", pa.timestamp("us"), WHOLE.map(lambda d: d.replace(tzinfo=None))),
        ("TIMESTAMPTZ", TIME, WHOLE),
        ("TIMESTAMP_S", pa.timestamp("s"), WHOLE.map(lambda d: d.replace(tzinfo=None))),
        ("TIMESTAMPTZ", pa.timestamp("ms", "Europe/Paris"), WHOLE),
    ],
)
@settings(max_examples=30)
@given(data=st.data())
def test_each_type_is_stored_as_feast_stores_it(sql_type, arrow, values, data):
    found = data.draw(optional(values))
    if sql_type == "TIMESTAMP_S":
        sql_type = "TIMESTAMP"
    kind = feature_table(features={"x": sql_type}).features[0].type.kind

    assert stored(sql_type, pa.array(found, arrow)) == feast_values(found, kind)


@given(st.data())
def test_a_decimal_of_up_to_15_digits_is_stored_as_the_nearest_double(data):
    precision = data.draw(st.integers(1, 15))
    scale = data.draw(st.integers(0, precision))
    limit = 10**precision - 1
    numbers = data.draw(optional(st.integers(-limit, limit)))
    values = [None if n is None else Decimal(n).scaleb(-scale) for n in numbers]

    found = stored(
        f"DECIMAL({precision}, {scale})", pa.array(values, pa.decimal128(precision, scale))
    )

    assert found == feast_values(values, OnlineKind.DOUBLE)


@given(st.data())
def test_a_wider_decimal_is_stored_as_its_plain_text(data):
    precision = data.draw(st.integers(16, 38))
    scale = data.draw(st.integers(0, precision))
    limit = 10**precision - 1
    numbers = data.draw(optional(st.integers(-limit, limit)))
    values = [None if n is None else Decimal(f"{n}e-{scale}") for n in numbers]
    texts = [None if v is None else f"{v:f}" for v in values]

    found = stored(
        f"DECIMAL({precision}, {scale})", pa.array(values, pa.decimal128(precision, scale))
    )

    assert found == feast_values(texts, OnlineKind.STRING)


@given(optional(st.uuids()))
def test_a_uuid_is_stored_as_its_text(found):
    raw = [None if u is None else u.bytes for u in found]
    texts = [None if u is None else str(u) for u in found]
    column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array(raw, pa.binary(16)))

    assert stored("UUID", column) == feast_values(texts, OnlineKind.STRING)
    assert stored("UUID", pa.array(texts, pa.string())) == stored("UUID", column)


def test_an_enum_is_stored_as_its_text():
    column = pa.array(["a", None, "b", "a"]).dictionary_encode()

    assert stored("VARCHAR", column) == feast_values(["a", None, "b", "a"], OnlineKind.STRING)


def test_null_and_nan_are_empty_and_zero_is_not():
    assert stored("DOUBLE", pa.array([None, float("nan"), 0.0]))[:2] == [b"", b""]
    assert stored("DOUBLE", pa.array([0.0, -0.0])) == [b")" + bytes(8), b")" + bytes(7) + b"\x80"]
    assert stored("BIGINT", pa.array([0, None])) == [b" \x00", b""]
    assert stored("VARCHAR", pa.array(["", None])) == [b"\x12\x00", b""]


@pytest.mark.parametrize("sql_type", ["BIGINT", "DOUBLE", "VARCHAR", "BLOB", "DATE", "FLOAT"])
def test_a_column_of_untyped_nulls_is_empty(sql_type):
    assert stored(sql_type, pa.nulls(2)) == [b"", b""]


def test_every_type_as_duckdb_hands_it_out():
    import duckdb

    types = {
        "a": "TINYINT", "b": "UINTEGER", "c": "FLOAT", "d": "DECIMAL(9, 2)", "e": "DECIMAL(30, 4)",
        "f": "VARCHAR", "g": "UUID", "h": "DATE", "i": "TIMESTAMP", "j": "TIMESTAMPTZ",
        "k": "BLOB", "l": "BOOLEAN", "m": "DOUBLE",
    }  # fmt: skip
    select = """
        1::tinyint as a, 7::uinteger as b, 0.5::float as c, 1.25::decimal(9, 2) as d,
        -0.0001::decimal(30, 4) as e, 'é' as f,
        '00000000-0000-0000-0000-00000000002a'::uuid as g, date '1969-12-31' as h,
        timestamp '2026-01-01 00:00:01' as i, timestamptz '2026-01-01 00:00:01+00' as j,
        'z'::blob as k, true as l, 0.1::double as m
    """
    plan = plan_view("shop", feature_table(features=types))
    streams = []
    for lossless in ("false", "true"):
        connection = duckdb.connect()
        connection.execute("set timezone = 'America/New_York'")
        connection.execute(f"set arrow_lossless_conversion = {lossless}")
        connection.execute(f"set produce_arrow_string_view = {lossless}")
        if lossless == "true":
            connection.execute("set arrow_output_version = '1.5'")
        time = "timestamptz '2026-03-01 12:00:00+00' as feature_at"
        reader = connection.sql(f"select 0::bigint as user_id, {time}, {select}").to_arrow_reader()
        streams.append(bytes(codec.write_commands(plan, reader.read_next_batch())))

    assert streams[0] == streams[1]
    texts = parsed(streams[0])[0][5::2]
    assert texts[4] == b"\x12\x07-0.0001"
    assert (
        texts[7] == feast_values([datetime(1969, 12, 31, tzinfo=UTC)], OnlineKind.UNIX_TIMESTAMP)[0]
    )


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=20))
def test_the_event_time_is_stored_as_feast_stores_it(moments):
    plan = plan_view("shop", feature_table(features={"x": "BIGINT"}))
    columns = {"x": pa.array(range(len(moments))), "feature_at": pa.array(moments, TIME)}

    commands = parsed(codec.write_commands(plan, rows(columns)))

    assert [c[2] for c in commands] == [b"_ts:clicks"] * len(moments)
    assert [c[3] for c in commands] == [feast_time(m) for m in moments]


def _same(value):
    return value


def _key_column(values, arrow):
    if not isinstance(arrow, pa.UuidType):
        return pa.array(values, arrow)
    storage = pa.array([value.bytes for value in values], pa.binary(16))
    return pa.ExtensionArray.from_storage(arrow, storage)


#: Every type that can be a key: the Arrow type it arrives in, values, and what Feast is given of one.
KEYS = {
    "TINYINT": (pa.int8(), st.integers(-128, 127), int),
    "SMALLINT": (pa.int16(), st.integers(-(2**15), 2**15 - 1), int),
    "INTEGER": (pa.int32(), st.integers(-(2**31), 2**31 - 1), int),
    "UTINYINT": (pa.uint8(), st.integers(0, 255), int),
    "USMALLINT": (pa.uint16(), st.integers(0, 2**16 - 1), int),
    "UINTEGER": (pa.uint32(), st.integers(0, 2**32 - 1), int),
    "BIGINT": (pa.int64(), INT64, int),
    "VARCHAR": (pa.string(), LONG, str),
    "ENUM('a', 'b')": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "b"]), str),
    "UUID": (pa.uuid(), st.uuids(), str),
    "DECIMAL(20, 2)": (
        pa.decimal128(20, 2),
        st.integers(-(10**20) + 1, 10**20 - 1).map(lambda n: Decimal(f"{n}e-2")),
        lambda d: f"{d:f}",
    ),
    "BLOB": (pa.binary(), st.binary(min_size=1, max_size=90), bytes),  # Feast has no empty one
    "DATE": (pa.date32(), st.dates(), lambda d: datetime(d.year, d.month, d.day, tzinfo=UTC)),
    "TIMESTAMP": (pa.timestamp("us"), WHOLE.map(lambda d: d.replace(tzinfo=None)), _same),
    "TIMESTAMPTZ": (TIME, WHOLE, _same),
}


@settings(max_examples=80)
@given(st.data())
def test_keys_of_any_types_in_any_declared_order_are_feasts(data):
    names = st.text("abcXYZ_09é", min_size=1, max_size=9)
    types = data.draw(st.dictionaries(names, st.sampled_from(sorted(KEYS)), min_size=1, max_size=4))
    count = data.draw(st.integers(1, 5))
    values = {
        n: data.draw(st.lists(KEYS[t][1], min_size=count, max_size=count)) for n, t in types.items()
    }
    table = feature_table(keys=types, features={"x": "BIGINT"})
    kinds = {key.name: key.type.kind for key in table.join_keys}
    plan = plan_view("shop_é", table)
    columns = {n: _key_column(v, KEYS[types[n]][0]) for n, v in values.items()}
    batch = rows(columns | {"x": pa.array([1] * count)})

    expected = [
        feast_key("shop_é", {n: (KEYS[t][2](values[n][i]), kinds[n]) for n, t in types.items()})
        for i in range(count)
    ]
    assert codec.redis_keys(plan, batch).to_pylist() == expected
    for commands in (codec.write_commands, codec.read_commands):
        assert [c[1] for c in parsed(commands(plan, batch))] == expected
    deletes = parsed(codec.delete_commands(plan, batch, plan.fields))
    assert deletes == [[b"HDEL", key, *plan.fields] for key in expected]
    exists = parsed(codec.exists_commands(plan, codec.redis_keys(plan, batch)))
    assert exists == [[b"HEXISTS", key, b"_ts:clicks"] for key in expected]


@given(st.data())
def test_a_change_is_the_event_time_and_the_changed_features_of_the_whole_row(data):
    types = {"a": "BIGINT", "b": "VARCHAR", "c": "DOUBLE", "d": "BOOLEAN", "e": "BLOB"}
    count = data.draw(st.integers(1, 12))

    def column(strategy, arrow):
        return pa.array(data.draw(st.lists(strategy, min_size=count, max_size=count)), arrow)

    plan = plan_view("shop", feature_table(keys={"user": "VARCHAR"}, features=types))
    batch = rows(
        {
            "user": column(LONG, pa.string()),
            "a": column(st.none() | INT64, pa.int64()),
            "b": column(st.none() | LONG, pa.string()),
            "c": column(st.none() | st.floats(), pa.float64()),
            "d": column(st.none() | st.booleans(), pa.bool_()),
            "e": column(st.none() | st.binary(max_size=90), pa.binary()),
        }
    )
    flags = st.lists(
        st.lists(st.booleans(), min_size=5, max_size=5), min_size=count, max_size=count
    )
    changed = np.array(data.draw(flags), np.bool_)

    whole = parsed(codec.write_commands(plan, batch))
    found = parsed(codec.changed_commands(plan, batch, changed))

    for row, command, marks in zip(whole, found, changed, strict=True):
        places = [place for place in range(5) if marks[place]]
        kept = [part for place in places for part in row[4 + 2 * place : 6 + 2 * place]]
        assert command == [*row[:4], *kept]


def test_changes_of_another_shape_are_refused():
    plan = plan_view("shop", feature_table(features={"x": "BIGINT"}))

    with pytest.raises(EncodingError, match="2 rows of 1 features, and there are 1 of 1"):
        codec.changed_commands(plan, rows({"x": pa.array([1])}), np.ones((2, 1), np.bool_))


def test_a_slice_of_a_batch_is_encoded_as_its_rows():
    plan = plan_view("shop", feature_table(features={"x": "VARCHAR", "y": "DECIMAL(20, 3)"}))
    texts = ["a", None, "b" * 100, "é", "c"]
    numbers = pa.array([Decimal(i) for i in range(5)], pa.decimal128(20, 3))
    batch = rows({"x": pa.array(texts), "y": numbers})

    whole = parsed(codec.write_commands(plan, batch))

    assert parsed(codec.write_commands(plan, batch.slice(1, 3))) == whole[1:4]


def test_pieces_are_bounded_in_rows_and_bytes_and_keep_the_order():
    batch = rows({"x": pa.array(["w" * (1 << 20)] * 20 + ["n"] * 10_000)})

    pieces = list(codec.pieces(batch))

    assert pa.Table.from_batches(pieces).equals(pa.Table.from_batches([batch]))
    assert max(piece.num_rows for piece in pieces) <= 2048
    assert max(piece.nbytes for piece in pieces) <= 4 << 20


@pytest.mark.parametrize(
    ("sql_type", "column", "words"),
    [
        ("TIMESTAMP", pa.array([NOON, NOON + timedelta(microseconds=1)], TIME), "1 values with a"),
        ("TIMESTAMP", pa.array([1.0]), "unix_timestamp"),
        ("INTEGER", pa.array([2**31]), "does not fit int32"),
        ("BIGINT", pa.array([2**64 - 1], pa.uint64()), "does not fit int64"),
        ("BIGINT", pa.array([1.0]), "double"),
        ("BOOLEAN", pa.array([1]), "int64"),
        ("FLOAT", pa.array([1.0]), "double"),
        ("DOUBLE", pa.array([1]), "int64"),
        ("DOUBLE", pa.array([Decimal(1)], pa.decimal128(16, 0)), "exact to 15 digits"),
        ("DECIMAL(30, 0)", pa.array([Decimal(1)], pa.decimal256(40, 0)), "38 digits"),
        ("VARCHAR", pa.array([b"a"]), "binary"),
        ("VARCHAR", pa.array([1]), "int64"),
        ("BLOB", pa.array(["a"]), "string"),
        ("BLOB", pa.array([[1]]), "list"),
    ],
)
def test_a_value_without_an_exact_online_form_is_refused_by_column(sql_type, column, words):
    plan = plan_view("shop", feature_table(features={"x": sql_type}))

    with pytest.raises(EncodingError, match=f"'x'.*{words}"):
        codec.write_commands(plan, rows({"x": column}))


def test_a_null_key_is_refused_with_its_count():
    plan = plan_view("shop", feature_table(features={"x": "BIGINT"}))
    batch = rows({"user_id": pa.array([1, None, None]), "x": pa.array([1, 2, 3])})

    with pytest.raises(EncodingError, match="'user_id' is NULL in 2 rows"):
        codec.write_commands(plan, batch)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([NOON, None], TIME), "NULL in 1 rows"),
        (pa.array([1, 2]), "must be a TIMESTAMP"),
        (pa.array(np.array([1, 2], "M8[ns]")), "no exact microseconds"),
    ],
)
def test_an_event_time_must_be_whole_microseconds(column, words):
    plan = plan_view("shop", feature_table(features={"x": "BIGINT"}))

    with pytest.raises(EncodingError, match=words):
        codec.write_commands(plan, rows({"feature_at": column, "x": pa.array([1, 2])}))


def test_rows_without_a_column_are_refused_by_name():
    plan = plan_view("shop", feature_table(features={"x": "BIGINT", "y": "BIGINT"}))

    with pytest.raises(EncodingError, match="no column feature_at, y"):
        codec.check_columns(plan, pa.schema([("user_id", pa.int64()), ("x", pa.int64())]))
    codec.check_columns(plan, pa.schema([("user_id", pa.int64())]), keys_only=True)
