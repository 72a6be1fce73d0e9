"""Random request-time expressions over columns of many types, and rows for them, extremes included."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime, timedelta

from hypothesis import strategies as st

from featmill.contract.types import parse_type

#: Name -> contract type of what an expression may read; two of each so that they meet.
COLUMNS = {
    "flag": "boolean",
    "small": "smallint",
    "count_a": "integer",
    "count_b": "integer",
    "total_a": "bigint",
    "total_b": "bigint",
    "single": "float",
    "real_a": "double",
    "real_b": "double",
    "price_a": "decimal(10, 2)",
    "price_b": "decimal(10, 2)",
    "rate": "decimal(15, 4)",
    "wide": "decimal(24, 3)",
    "word_a": "varchar",
    "word_b": "varchar",
    "day_a": "date",
    "day_b": "date",
    "seen_a": "timestamp",
    "seen_b": "timestamptz",
    "numbers": "bigint[]",
    "words": "varchar[]",
}
TYPES = {name: parse_type(kind) for name, kind in COLUMNS.items()}

_WORDS = st.one_of(
    st.sampled_from(
        ["", "a", "Z", "de", "DE", "éA", "İ", "ß", "a\x00b", "12", "true", "1e3", " x "]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
_REALS = st.one_of(
    st.sampled_from(
        [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, 0.49999999999999994, 1e-300, 5e-324, 1e308, math.inf]
    ),
    st.sampled_from(
        [
            -math.inf,
            2147483647.0,
            2147483647.5,
            -2147483648.5,
            9007199254740993.0,
            9.2233720368547e18,
        ]
    ),
    st.floats(allow_nan=False),
    st.integers(-100, 100).map(lambda n: n / 4),
)


def _single(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def _decimals(width: int, scale: int, *, text: bool):
    digits = st.one_of(st.integers(1 - 10**width, 10**width - 1), st.integers(-500, 500))
    if text:
        return digits.map(
            lambda n: f"{'-' if n < 0 else ''}{abs(n) // 10**scale}.{abs(n) % 10**scale:0{scale}d}"
        )
    return digits.map(lambda n: n / 10**scale)


def _integers(bits: int):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    edges = st.sampled_from([low, low + 1, high - 1, high, 0, 1, -1])
    return st.one_of(edges, st.integers(-20, 20), st.integers(low, high))


_DAYS = st.one_of(
    st.dates(),
    st.dates(date(1969, 12, 1), date(1970, 2, 1)),
    st.dates(date(2024, 1, 1), date(2026, 12, 31)),
)


def _moments(first: int, last: int):
    """Between two whole seconds since 1970."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    micros = st.integers(first * 1_000_000, last * 1_000_000)
    return micros.map(lambda us: epoch + timedelta(microseconds=us))


MOMENTS = st.one_of(
    _moments(-62_135_500_000, 253_402_200_000),
    _moments(-1_000_000, 1_000_000),
    _moments(1_766_000_000, 1_773_000_000),
)

_VALUES = {
    "boolean": st.booleans(),
    "smallint": _integers(16),
    "integer": _integers(32),
    "bigint": _integers(64),
    "float": st.one_of(
        st.floats(width=32, allow_nan=False), _REALS.filter(lambda x: abs(x) < 1e30).map(_single)
    ),
    "double": _REALS,
    "decimal(10, 2)": _decimals(10, 2, text=False),
    "decimal(15, 4)": _decimals(15, 4, text=False),
    "decimal(24, 3)": _decimals(24, 3, text=True),
    "varchar": _WORDS,
    "date": _DAYS,
    "timestamp": MOMENTS,
    "timestamptz": MOMENTS,
    "bigint[]": st.lists(_integers(64), max_size=3),
    "varchar[]": st.lists(_WORDS, max_size=3),
}

ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | _VALUES[kind] for name, kind in COLUMNS.items()}),
    min_size=1,
    max_size=6,
)

_NUMBERS = [
    "small",
    "count_a",
    "count_b",
    "total_a",
    "total_b",
    "single",
    "real_a",
    "real_b",
    "price_a",
    "price_b",
]
_NUMBERS += ["rate", "wide"]
_LITERALS = ["0", "1", "2", "-3", "0.5", "7.25", "1e3", "-1e-3", "3000000000", "100", "null"]
_TEXTS = ["word_a", "word_b", "'a'", "'DE'", "''", "null::varchar"]
_TIMES = [
    "as_of",
    "seen_a",
    "seen_b",
    "timestamp '2026-01-01 05:06:07.5'",
    "timestamptz '2026-02-01 00:00:00+00'",
]
_DAYS_SQL = ["day_a", "day_b", "as_of::date", "date '2026-01-31'"]
_PARTS = [
    "year",
    "quarter",
    "month",
    "day",
    "dayofyear",
    "isodow",
    "dayofweek",
    "hour",
    "minute",
    "second",
]
_PARTS += ["epoch_us", "epoch_ms", "epoch"]
_DAY_PARTS = _PARTS[:7]
_LENGTHS = ["second", "minute", "hour", "day", "week", "month", "quarter", "year"]
_REAL_CALLS = ["abs", "floor", "ceil", "round", "sqrt", "ln", "log10", "log2", "exp", "-"]
_TYPES = ["integer", "bigint", "smallint", "double", "boolean", "decimal(12, 2)", "decimal(15, 4)"]


def _of(template: str, *parts):
    return st.tuples(*parts).map(lambda given: template.format(*given))


def _number(numbers, conditions, texts):
    pairs = st.sampled_from(["+", "-", "*", "/", "//", "%"])
    return st.one_of(
        _of("({} {} {})", numbers, pairs, numbers),
        _of("{}({})", st.sampled_from(_REAL_CALLS), numbers),
        _of("{}(({})::double)", st.sampled_from(_REAL_CALLS), numbers),
        _of("pow({}, {})", numbers, numbers),
        _of("coalesce({}, {})", numbers, numbers),
        _of("nullif({}, {})", numbers, numbers),
        _of("{}({}, {}, {})", st.sampled_from(["least", "greatest"]), numbers, numbers, numbers),
        _of(
            "case when {} then {} when {} then {} else {} end",
            conditions,
            numbers,
            conditions,
            numbers,
            numbers,
        ),
        _of("({})::{}", numbers, st.sampled_from(_TYPES)),
        _of("({})::integer", conditions),
        _of("len({})", texts),
    )


def _condition(numbers, conditions, texts):
    compared = st.sampled_from(
        ["=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"]
    )
    return st.one_of(
        _of("({} {} {})", numbers, compared, numbers),
        _of("({} {} {})", texts, compared, texts),
        _of("({} {} {})", st.sampled_from(_TIMES), compared, st.sampled_from(_TIMES)),
        _of(
            "({} {} {})", st.sampled_from(_DAYS_SQL), compared, st.sampled_from(_DAYS_SQL + _TIMES)
        ),
        _of("({} and {})", conditions, conditions),
        _of("({} or {})", conditions, conditions),
        _of("(not {})", conditions),
        _of("({} is null)", st.one_of(numbers, conditions, texts)),
        _of("({} is not null)", st.one_of(numbers, texts)),
        _of("({} between {} and {})", numbers, numbers, numbers),
        _of("({} in ({}, {}, {}))", numbers, numbers, numbers, numbers),
        _of("({} not in ({}, {}))", texts, texts, texts),
        _of("{}({}, {})", st.sampled_from(["starts_with", "ends_with", "contains"]), texts, texts),
    )


def _text(numbers, conditions, texts):
    return st.one_of(
        _of("{}({})", st.sampled_from(["lower", "upper"]), texts),
        _of("({} || {})", texts, texts),
        _of("concat({}, {}, {})", texts, texts, texts),
        _of("coalesce({}, {})", texts, texts),
        _of("case when {} then {} else {} end", conditions, texts, texts),
        _of("({}::bigint)::varchar", st.sampled_from(["small", "count_a", "total_a"])),
        _of("{}::varchar", conditions),
    )


def _calendar():
    times, days = st.sampled_from(_TIMES), st.sampled_from(_DAYS_SQL)
    return st.one_of(
        _of("{}({})", st.sampled_from(_PARTS), times),
        _of("{}({})", st.sampled_from(_DAY_PARTS), days),
        _of("epoch_us(date_trunc('{}', {}))", st.sampled_from(_LENGTHS), times),
        _of("date_diff('{}', {}, {})", st.sampled_from(_LENGTHS[:4]), times, times),
        _of("date_diff('day', {}, {})", days, days),
        _of("({} - {})", days, days),
        _of(
            "epoch_us({} {} interval {} day)",
            times,
            st.sampled_from(["+", "-"]),
            st.sampled_from(["1", "30"]),
        ),
        _of("epoch_us({}::date::timestamp)", times),
        st.sampled_from(["len(numbers)", "len(words)", "epoch_us(as_of) - epoch_us(seen_a)"]),
    )


def _layers(depth: int):
    numbers = st.sampled_from(_NUMBERS + _LITERALS)
    conditions = st.sampled_from(["flag", "true", "false", "null::boolean"])
    texts = st.sampled_from(_TEXTS)
    numbers = st.one_of(numbers, _calendar())
    for _ in range(depth):
        deeper = (
            st.one_of(numbers, _number(numbers, conditions, texts)),
            st.one_of(conditions, _condition(numbers, conditions, texts)),
            st.one_of(texts, _text(numbers, conditions, texts)),
        )
        numbers, conditions, texts = deeper
    return st.one_of(numbers, conditions, texts)


EXPRESSIONS = _layers(2)
