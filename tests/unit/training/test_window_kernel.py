"""The kernel's parts: integer forms, sorting, ranges, and what it refuses."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featmill.errors import KernelRefused
from featmill.training.kernels import ranges
from featmill.training.kernels.encoding import Encoder, decode, encode, readable, restored
from featmill.training.kernels.event_arrays import Expressions, read_events
from featmill.training.kernels.sorting import break_ties, key_codes, order_by_key_and_time

EDGES = st.sampled_from([-(1 << 62), -(1 << 31), -1, 0, 1, 1 << 31, 1 << 62])
SMALL = st.integers(-3, 3)


@pytest.mark.parametrize(
    ("sql_type", "values"),
    [
        ("BOOLEAN", [True, False, None]),
        ("TINYINT", [-128, 127, None]),
        ("BIGINT", [-(1 << 63), (1 << 63) - 1, 0]),
        ("UINTEGER", [(1 << 32) - 1, 0]),
        ("DECIMAL(4,2)", [Decimal("-99.99"), Decimal("0.01"), None]),
        ("DECIMAL(18,0)", [Decimal(10**18 - 1), Decimal(1 - 10**18)]),
        ("DECIMAL(38,2)", [Decimal("-0.01"), Decimal("12345678901234567.89"), None]),
        ("DATE", [date(1969, 12, 31), date(2026, 3, 1), None]),
        ("TIMESTAMP", [datetime(1969, 12, 31, 23, 59, 59, 999999), None]),  # noqa: DTZ001
        ("TIMESTAMP WITH TIME ZONE", [datetime(2026, 3, 1, 12, tzinfo=UTC), None]),
        ("DOUBLE", [-1.5, -5e-324, -0.0, 0.0, 5e-324, 0.1, float("inf"), float("-inf"), None]),
        ("FLOAT", [-1.5, 0.25, None]),
        ("VARCHAR", ["", "a", "B", "é", "z", "\U0001f600", None]),
    ],
)
def test_a_value_has_an_integer_form_in_its_order_and_comes_back(sql_type, values):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TABLE given (x {sql_type})")
        connection.executemany("INSERT INTO given VALUES (?)", [[value] for value in values])
        read = connection.sql(f"SELECT {readable('x', sql_type)} AS c FROM given").to_arrow_table()
        column = encode(read.column("c").chunks, sql_type)
        valid = np.ones(len(values), bool) if column.nulls is None else ~column.nulls
        connection.register(
            "held", pa.table({"c": decode(column.codes, valid, sql_type, column.words)})
        )
        back = connection.sql(f"SELECT {restored('c', sql_type)} FROM held").fetchall()
        order = connection.sql("SELECT x FROM given WHERE x IS NOT NULL ORDER BY x").fetchall()

    assert [str(row[0]) for row in back] == [str(value) for value in values]
    present = [value for value in values if value is not None]
    by_code = [present[i] for i in np.argsort(column.codes[valid], kind="stable")]
    assert by_code == [row[0] for row in order]


@pytest.mark.parametrize("sql_type", ["HUGEINT", "UBIGINT", "INTEGER[]", "BLOB", "INTERVAL"])
def test_a_type_without_an_integer_form_is_refused(sql_type):
    with pytest.raises(KernelRefused, match=r"x is .*, which has no 64-bit integer form"):
        readable("x", sql_type)


def test_a_decimal_beyond_64_bits_is_refused():
    wide = pa.array([Decimal(1 << 63)], pa.decimal128(38, 0))

    with pytest.raises(KernelRefused, match="beyond 64 bits"):
        encode([wide], "DECIMAL(38,0)")


@given(st.lists(st.tuples(EDGES | SMALL, EDGES | SMALL, SMALL, SMALL), max_size=12))
def test_events_are_sorted_by_key_and_the_total_order(rows):
    """Rule 8, also where key and time do not fit one integer together."""
    keys, times, known, ids = (np.array([r[n] for r in rows], np.int64) for n in range(4))

    found = order_by_key_and_time(keys, times)
    for by in (known, ids):
        found = break_ties(found, by)

    placed = [rows[i] for i in found.order]
    assert placed == sorted(rows)
    assert found.times.tolist() == [row[1] for row in placed]
    begins = [n for n, row in enumerate(placed) if n == 0 or row[0] != placed[n - 1][0]]
    assert found.starts.tolist() == begins


def test_wide_keys_and_times_that_share_their_upper_bits_are_sorted():
    """More rows than upper bits tell apart, under keys that are numbered first."""
    random = np.random.default_rng(4)
    keys = random.choice([-(1 << 62), 5, 1 << 61], 50_000)
    times = random.choice([-(1 << 60), 0, 1 << 60], 50_000) + random.integers(0, 1 << 20, 50_000)

    found = order_by_key_and_time(keys, times)

    assert found.order.tolist() != list(range(50_000))
    order = np.lexsort((times, keys))
    assert (keys[found.order].tolist(), found.times.tolist()) == (
        keys[order].tolist(),
        times[order].tolist(),
    )
    assert times[found.order].tolist() == found.times.tolist()
    assert len(found.starts) == 3


def test_more_values_than_were_expected_are_kept():
    """Another connection may add events between the count and the read."""
    encoder = Encoder("BIGINT", 3)
    for begin in range(0, 10, 5):
        encoder.add(pa.array([begin, begin + 1, None, begin + 3, begin + 4]))

    found = encoder.column()

    assert found.codes[~found.nulls].tolist() == [0, 1, 3, 4, 5, 6, 8, 9]
    assert found.nulls.tolist() == [False, False, True, False, False] * 2


@pytest.mark.parametrize(
    "texts", [[["b", None], ["a", "b"]], [["b", "b", "a"], ["c", "a", None]], [[None]], []]
)
def test_texts_have_one_code_each_whatever_chunks_they_come_in(texts):
    encoder = Encoder("VARCHAR", 0)
    for chunk in texts:
        encoder.add(pa.array(chunk, pa.string()))

    found = encoder.column()

    given = [text for chunk in texts for text in chunk]
    known = sorted({text for text in given if text is not None})
    assert found.words.to_pylist() == known
    nulls = [False] * len(given) if found.nulls is None else found.nulls.tolist()
    assert nulls == [text is None for text in given]
    assert [known[c] for c, n in zip(found.codes, nulls, strict=True) if not n] == [
        t for t in given if t is not None
    ]


@given(st.lists(st.tuples(EDGES | SMALL, st.sampled_from(["a", "ab", "b", ""]), SMALL), min_size=1))
def test_composite_keys_have_one_code_each(rows):
    """Keys that collide when they are concatenated or hashed do not."""
    columns = [pa.chunked_array([[row[n] for row in rows]]) for n in range(3)]

    codes = key_codes(columns)

    pairs = set(zip(codes.tolist(), rows, strict=True))
    assert len(pairs) == len(set(rows)) == len(set(codes.tolist()))


@st.composite
def segments(draw):
    """Sorted times in segments, codes, and ranges that lie within a segment."""
    lengths = draw(st.lists(st.integers(0, 300), min_size=1, max_size=4))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    offsets = np.append(0, np.cumsum(lengths))
    times = np.concatenate([np.sort(random.integers(-40, 40, n)) for n in lengths])
    codes = random.integers(-4, 4, len(times)) * draw(st.sampled_from([1, 1 << 40]))
    asked = random.integers(0, len(lengths), 30)
    return offsets, times, codes, asked, random.integers(-45, 45, 30)


@given(segments())
def test_ranges_answer_as_slices_do(drawn):
    offsets, times, codes, asked, moments = drawn
    begin, end = offsets[asked], offsets[asked + 1]

    high = ranges.lower_bound(times, begin, end, moments)
    low = ranges.lower_bound(times, begin, high, moments - 20)

    slices = []
    for segment, moment, first, last in zip(asked, moments, low, high, strict=True):
        within = np.arange(offsets[segment], offsets[segment + 1])
        within = within[(times[within] < moment) & (times[within] >= moment - 20)]
        assert within.tolist() == list(range(first, last))
        slices.append(codes[within])
    places = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets))
    earlier = ranges.previous(codes, places)
    assert ranges.distinct(earlier, low, high).tolist() == [len(set(s)) for s in slices]
    padded = np.append(codes, 0)
    some = high > low
    if ranges.spread(codes) <= 62:
        bits = ranges.as_bits(codes)
        tables: Any = ranges.block_tables(bits, np.bitwise_or)  # type: ignore[arg-type]
        held = ranges.extremes(np.append(bits, 0), tables, low[some], high[some], np.bitwise_or)
        assert np.bitwise_count(held).tolist() == [len(set(s)) for s in slices if len(s)]
    for choose in (np.minimum, np.maximum):
        tables = ranges.block_tables(codes, choose)
        found = ranges.extremes(padded, tables, low[some], high[some], choose)
        assert found.tolist() == [choose.reduce(s) for s in slices if len(s)]
    known = np.unique(codes)
    top = ranges.most_frequent(np.searchsorted(known, codes), low[some], high[some])
    for code, held in zip(known[top], (s for s in slices if len(s)), strict=True):
        counts = dict(zip(*np.unique(held, return_counts=True), strict=True))
        assert code == min(c for c, n in counts.items() if n == max(counts.values()))
    positions, lengths = ranges.newest(low, high, 3)
    assert lengths.tolist() == [min(len(s), 3) for s in slices]
    assert codes[positions].tolist() == [c for s in slices for c in s[::-1][:3]]


def test_a_range_far_longer_than_a_block_has_the_right_extreme():
    values = np.random.default_rng(7).integers(-(10**9), 10**9, 5000)
    low, high = np.array([0, 63, 64, 1, 4000]), np.array([5000, 200, 4999, 130, 4129])

    for choose in (np.minimum, np.maximum):
        tables = ranges.block_tables(values, choose)
        found = ranges.extremes(np.append(values, 0), tables, low, high, choose)
        expected = [choose.reduce(values[a:b]) for a, b in zip(low, high, strict=True)]
        assert found.tolist() == expected


@pytest.mark.parametrize("sql_type", ["BIGINT", "VARCHAR", "UUID"])
def test_a_tie_without_an_id_comes_last_as_sql_has_it(sql_type):
    """Rule 8: where sources let a NULL id through, both engines agree on which event is the last."""
    ids = {
        "BIGINT": "NULL, 9223372036854775807, -1",
        "VARCHAR": "NULL, 'b', ''",
        "UUID": "NULL, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '00000000-0000-0000-0000-000000000000'",
    }[sql_type]
    names = {"event_at": "seen_at", "ingested_at": "known_at", "event_id": "id"}
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE e AS SELECT 1 AS k, TIMESTAMP '2026-03-01' AS seen_at, seen_at AS known_at, "
            f"unnest([{ids}])::{sql_type} AS id, unnest([1, 2, 3]) AS v"
        )
        view = {"keys": ["k"], "events": "e", **names}
        events = read_events(connection, view, Expressions(("v",), ()))
        by_sql = connection.execute("SELECT v FROM e ORDER BY id NULLS LAST").fetchall()
        last = connection.execute("SELECT arg_max(v, (seen_at, known_at, id)) FROM e").fetchall()

    assert events.values["v"].codes.tolist() == [row[0] for row in by_sql] == [3, 2, 1]
    assert last == [(1,)]
