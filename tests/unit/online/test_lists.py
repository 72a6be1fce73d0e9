"""Lists are stored as Feast stores them (the closed type table), except what Feast would falsify."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featmill.contract.types import OnlineKind, parse_type
from featmill.errors import EncodingError
from featmill.online import codec
from featmill.online.plan import plan_view
from tests.unit.online.tables import feast_lists, feature_table, parsed

pytestmark = pytest.mark.feast

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LONG = st.builds(lambda text, times: text * times, TEXT, st.sampled_from([1, 30]))
WHOLE = st.datetimes(timezones=st.just(UTC)).map(lambda d: d.replace(microsecond=0))
INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300)

#: The element's contract type, the Arrow type it arrives in, and values.
ELEMENTS = [
    ("BOOLEAN", pa.bool_(), st.booleans()),
    ("TINYINT", pa.int8(), st.integers(-128, 127)),
    ("INTEGER", pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    ("UINTEGER", pa.uint32(), st.integers(0, 2**32 - 1)),
    ("BIGINT", pa.int64(), INT64),
    ("FLOAT", pa.float32(), st.floats(width=32)),
    ("DOUBLE", pa.float64(), st.floats()),
    ("VARCHAR", pa.string(), LONG),
    ("VARCHAR", pa.string_view(), LONG),
    ("BLOB", pa.binary(), st.binary(max_size=90)),
    ("DATE", pa.date32(), st.dates()),
    ("TIMESTAMP", pa.timestamp("us"), WHOLE.map(lambda d: d.replace(tzinfo=None))),
    ("TIMESTAMPTZ", TIME, WHOLE),
]


def batch_of(column):
    count = len(column)
    return pa.record_batch(
        {
            "user_id": pa.array(range(5, 5 + count), pa.int64()),
            "feature_at": pa.array([NOON] * count, TIME),
            "x": column,
        }
    )


def stored(sql_type, column, *, online_type=None):
    """What the codec stores for a column declared as `sql_type`."""
    table = feature_table(features={"x": sql_type})
    if online_type is not None:
        feature = table.features[0]
        moved = feature.model_copy(update={"type": feature.type.stored_as(online_type)})
        table = table.model_copy(update={"features": (moved,)})
    plan = plan_view("shop", table)
    batch = batch_of(column)
    values = [command[5] for command in parsed(codec.write_commands(plan, batch))]
    expected = [reply[0] for reply in parsed(codec.expected_replies(plan, batch))]
    assert expected == values, "what verify expects is what export writes"
    every = np.ones((len(column), 1), np.bool_)
    assert [c[5] for c in parsed(codec.changed_commands(plan, batch, every))] == values
    return values


def optional_lists(elements):
    lists = st.none() | st.lists(elements, max_size=6) | st.lists(elements, max_size=40)
    return st.lists(lists, min_size=1, max_size=15)


@pytest.mark.parametrize(("element", "arrow", "values"), ELEMENTS)
@settings(max_examples=40)
@given(data=st.data())
def test_each_list_is_stored_as_feast_stores_it(element, arrow, values, data):
    found = data.draw(optional_lists(values))
    shape = data.draw(st.sampled_from([pa.list_, pa.large_list, pa.list_view]))
    kind = parse_type(f"{element}[]").kind
    column = pa.array(found, shape(arrow))
    start = data.draw(st.integers(0, len(found)))

    assert stored(f"{element}[]", column) == feast_lists(found, kind)
    if start < len(found):
        assert stored(f"{element}[]", column.slice(start)) == feast_lists(found[start:], kind)


@given(st.lists(st.none() | st.lists(INT64, min_size=3, max_size=3), min_size=1, max_size=9))
def test_an_array_of_fixed_size_is_a_list(found):
    column = pa.array(found, pa.list_(pa.int64(), 3))

    assert stored("BIGINT[3]", column) == feast_lists(found, OnlineKind.INT64)


@given(st.data())
def test_decimals_in_a_list_follow_the_rule_of_their_digits(data):
    precision = data.draw(st.sampled_from([1, 15, 16, 38]))
    scale = data.draw(st.integers(0, precision))
    limit = 10**precision - 1
    numbers = data.draw(optional_lists(st.integers(-limit, limit)))
    values = [n if n is None else [Decimal(f"{i}e-{scale}") for i in n] for n in numbers]
    column = pa.array(values, pa.list_(pa.decimal128(precision, scale)))

    found = stored(f"DECIMAL({precision}, {scale})[]", column)

    if precision <= 15:
        doubles = [v if v is None else [float(d) for d in v] for v in values]
        assert found == feast_lists(doubles, OnlineKind.DOUBLE)
    else:
        texts = [v if v is None else [f"{d:f}" for d in v] for v in values]
        assert found == feast_lists(texts, OnlineKind.STRING)


@given(optional_lists(st.uuids()))
def test_uuids_in_a_list_are_their_texts(found):
    raw = [None if v is None else [u.bytes for u in v] for v in found]
    values = pa.array(raw, pa.list_(pa.binary(16)))
    column = values.cast(pa.list_(pa.uuid()))
    texts = [None if v is None else [str(u) for u in v] for v in found]

    assert stored("UUID[]", column) == feast_lists(texts, OnlineKind.STRING)


def test_moments_kept_in_microseconds_are_integers():
    fine = NOON.replace(microsecond=7)
    column = pa.array([[fine], None, []], pa.list_(TIME))
    micros = int(NOON.timestamp()) * 10**6 + 7

    found = stored("TIMESTAMPTZ[]", column, online_type="int64")

    assert found == feast_lists([[micros], None, []], OnlineKind.INT64)


def test_a_column_of_untyped_nulls_and_of_empty_lists():
    assert stored("BIGINT[]", pa.nulls(2)) == [b"", b""]
    assert stored("DOUBLE[]", pa.array([[], None], pa.list_(pa.float64()))) == [b"z\x00", b""]
    assert stored("VARCHAR[]", pa.array([[]], pa.list_(pa.string()))) == [b"b\x00"]


@pytest.mark.parametrize(("element", "arrow", "values"), ELEMENTS)
def test_a_null_in_a_list_is_refused_by_column_and_entity(element, arrow, values):
    lists = pa.array([[], None, [None], [None]], pa.list_(arrow))

    with pytest.raises(EncodingError, match=r"'x' holds a list with a NULL.*user_id=7") as caught:
        stored(f"{element}[]", lists)
    assert "list_filter(x" in caught.value.hint


@pytest.mark.parametrize(
    ("sql_type", "column", "words"),
    [
        ("BIGINT[]", pa.array([1]), "a list of int64, but its values are int64"),
        ("BIGINT[]", pa.array([[1.0]]), "stored online as int64.*double"),
        ("INTEGER[]", pa.array([[2**31]]), "does not fit int32"),
        ("TIMESTAMP[]", pa.array([[NOON.replace(microsecond=1)]], pa.list_(TIME)), "fraction"),
        ("VARCHAR[]", pa.array([[b"a"]]), "binary"),
        ("BIGINT[]", pa.array([[[1]]]), "list"),
    ],
)
def test_an_element_without_an_exact_online_form_is_refused(sql_type, column, words):
    with pytest.raises(EncodingError, match=f"'x'.*{words}"):
        stored(sql_type, column)


@pytest.mark.parametrize("lossless", ["false", "true"])
def test_lists_as_duckdb_hands_them_out(lossless):
    import duckdb

    values = {
        "BIGINT[]": ("[1, -2]", [1, -2]),
        "INTEGER[2]": ("[1, -2]::integer[2]", [1, -2]),
        "BOOLEAN[]": ("[true, false]", [True, False]),
        "DECIMAL(9, 2)[]": ("[1.25]::decimal(9, 2)[]", [1.25]),
        "DECIMAL(30, 4)[]": ("[-0.0001]::decimal(30, 4)[]", ["-0.0001"]),
        "VARCHAR[]": ("['é', '']", ["é", ""]),
        "ENUM('a', 'b')[]": ("['b', 'a']::enum('a', 'b')[]", ["b", "a"]),
        "UUID[]": (
            "['00000000-0000-0000-0000-00000000002a'::uuid]",
            ["00000000-0000-0000-0000-00000000002a"],
        ),
        "BLOB[]": ("['z'::blob]", [b"z"]),
        "DATE[]": ("[date '2026-03-01']", [NOON.replace(hour=0)]),
        "TIMESTAMPTZ[]": ("[timestamptz '2026-03-01 12:00:00+00']", [NOON]),
    }
    connection = duckdb.connect()
    connection.execute("set timezone = 'America/New_York'")
    connection.execute(f"set arrow_lossless_conversion = {lossless}")
    connection.execute(f"set produce_arrow_string_view = {lossless}")
    connection.execute(f"set arrow_output_list_view = {lossless}")
    if lossless == "true":
        connection.execute("set arrow_output_version = '1.5'")
    for sql_type, (sql, expected) in values.items():
        query = f"select {sql} as x union all select null"
        table = connection.sql(query).to_arrow_table()
        column = table.column("x").combine_chunks()
        kind = parse_type(sql_type).kind

        assert stored(sql_type, column) == [*feast_lists([expected], kind), b""], sql_type


@pytest.mark.parametrize("sql_type", ["DATE", "TIMESTAMP", "DATE[]", "TIMESTAMPTZ[]"])
def test_a_moment_that_no_reader_knows_is_refused(sql_type):
    import duckdb

    element = sql_type.removesuffix("[]")
    sql = f"'0044-03-15 (BC)'::{element}"
    column = duckdb.sql(f"select {f'[{sql}]' if '[' in sql_type else sql} as x").to_arrow_table()

    with pytest.raises(EncodingError, match="'x' has 1 values outside of the years 1 to 9999"):
        stored(sql_type, column.column("x").combine_chunks())
