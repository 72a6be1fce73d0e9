"""Each function that is computed without DuckDB, over thousands of values of each type it takes, extremes among them.

Random expressions meet a rare value of a rare function seldom; here every function meets every extreme.
"""

from __future__ import annotations

import math
import random
import struct
from itertools import product

import pytest

from featmill.contract.catalog import RequestFeature
from featmill.contract.types import parse_type
from featmill.errors import ContractError
from featmill.serving.request.in_duckdb import DuckdbRows
from featmill.serving.request.native import native_function
from featmill.serving.request.sql import AS_OF, Binder
from tests.unit.serving.request.expressions import COLUMNS, TYPES

SLOTS = {AS_OF: 0} | {name: at for at, name in enumerate(TYPES, start=1)}
AT = 1_767_441_600_000_000
ROWS = 3_000

_REALS = [
    0.0,
    -0.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    0.49999999999999994,
    5e-324,
    1e308,
    -1e308,
    1.0,
    math.inf,
]
_REALS += [
    -math.inf,
    2147483647.5,
    -2147483648.5,
    9007199254740993.0,
    9.223372036854775e18,
    1e15 + 0.5,
    4503599627370497.5,
]
_WORDS = [
    "",
    "a",
    "Z",
    "de",
    "DE",
    "éA",
    "İ",
    "ß",
    "a\x00b",
    "12",
    " x ",
    "\U0001f600",
    "\ud7ff",
    "\ue000",
    "\uffff",
]


def _integers(chance, bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    edges = [low, low + 1, high - 1, high, 0, 1, -1, 2, -2]
    return lambda: chance.choice(
        [chance.choice(edges), chance.randint(-50, 50), chance.randint(low, high)]
    )


def _decimals(chance, width):
    high = 10**width - 1
    return lambda: chance.choice(
        [0, 1, -1, high, -high, chance.randint(-999, 999), chance.randint(-high, high)]
    )


def _real(chance):
    return chance.choice(
        [
            chance.choice(_REALS),
            chance.uniform(-50, 50),
            chance.gauss(0, 1) * 10 ** chance.randint(-300, 300),
        ]
    )


def _micros(chance):
    """Pre-1970, around 1970, now, and the ends of the calendar."""
    last = 253_402_300_799_999_999
    first = -62_135_596_800_000_000
    near = chance.choice([0, AT, -AT, first + 10**6, last - 10**6]) + chance.randint(
        -(10**6), 10**6
    )
    whole = chance.choice([86_400_000_000, 3_600_000_000, 1_000_000]) * chance.randint(
        -20_000, 20_000
    )
    return chance.choice([near, whole, chance.randint(first, last), chance.randint(-AT, 2 * AT)])


def _values(chance):
    """Column -> a function that makes a value in the form between."""
    made = {
        "boolean": lambda: chance.random() < 0.5,
        "smallint": _integers(chance, 16),
        "integer": _integers(chance, 32),
        "bigint": _integers(chance, 64),
        "float": lambda: struct.unpack(
            "<f", struct.pack("<f", chance.choice([chance.uniform(-9, 9), 0.0, -0.0, math.inf]))
        )[0],
        "double": lambda: _real(chance),
        "decimal(10, 2)": _decimals(chance, 10),
        "decimal(15, 4)": _decimals(chance, 15),
        "decimal(24, 3)": _decimals(chance, 24),
        "varchar": lambda: chance.choice(_WORDS),
        "date": lambda: _micros(chance) // 86_400_000_000,
        "timestamp": lambda: _micros(chance),
        "timestamptz": lambda: _micros(chance),
        "bigint[]": lambda: [chance.randint(-9, 9) for _ in range(chance.randint(0, 3))],
        "varchar[]": lambda: [chance.choice(_WORDS) for _ in range(chance.randint(0, 3))],
    }
    return {name: made[kind] for name, kind in COLUMNS.items()}


@pytest.fixture(scope="module")
def columns():
    chance = random.Random(7)
    makers = _values(chance)
    return {
        name: [None if chance.random() < 0.05 else make() for _ in range(ROWS)]
        for name, make in makers.items()
    }


@pytest.fixture(scope="module")
def binder():
    with Binder(TYPES) as opened:
        yield opened


_PAIRS = [
    *product(["count_a", "small", "total_a"], ["count_b", "total_b", "2", "-7"]),
    *product(
        ["real_a", "single", "price_a", "rate", "wide"],
        ["real_b", "price_b", "count_b", "2.5", "3"],
    ),
]
_PARTS = [
    "year",
    "quarter",
    "month",
    "day",
    "dayofmonth",
    "dayofyear",
    "isodow",
    "dayofweek",
    "weekday",
]
_CLOCK = ["hour", "minute", "second", "epoch_us", "epoch_ms", "epoch"]
_LENGTHS = ["microsecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year"]
_TIMES = ["seen_a", "seen_b"]
_TYPES = [
    "tinyint",
    "smallint",
    "integer",
    "bigint",
    "uinteger",
    "double",
    "boolean",
    "varchar",
    "decimal(12, 2)",
    "decimal(30, 6)",
]
_COLUMNS = ["flag", "small", "count_a", "total_a", "single", "real_a", "price_a", "rate", "wide"]
_REAL_CALLS = [
    "abs",
    "floor",
    "ceil",
    "ceiling",
    "round",
    "sqrt",
    "ln",
    "log",
    "log10",
    "log2",
    "exp",
    "isnan",
    "-",
]

EXPRESSIONS = {
    "arithmetic": [f"{a} {op} {b}" for (a, b), op in product(_PAIRS, ["+", "-", "*", "/", "//", "%"])],
    "comparisons": [
        f"{a} {op} {b}"
        for (a, b), op in product(
            [*_PAIRS, ("word_a", "word_b"), ("seen_a", "seen_b"), ("day_a", "seen_a"), ("flag", "not flag")],
            ["=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"],
        )
    ],
    "least and greatest": [f"{f}({a}, {b})" for (a, b), f in product(_PAIRS, ["least", "greatest"])],
    "one number": [f"{f}({a})" for f, a in product(_REAL_CALLS, _COLUMNS[1:])],
    "powers": [f"pow({a}, {b})" for a, b in product(["real_a", "count_a"], ["real_b", "2", "0.5", "-1"])],
    "casts": [f"{a}::{kind}" for a, kind in product(_COLUMNS, _TYPES)],
    "texts": [f"{f}(word_a)" for f in ("lower", "upper", "len", "length", "lcase", "ucase")]
    + [f"{f}(word_a, word_b)" for f in ("starts_with", "ends_with", "contains", "prefix", "suffix")]
    + ["word_a || word_b", "concat(word_a, 'x', word_b)", "len(numbers)", "len(words)"],
    "parts": [f"{f}({a})" for f, a in product(_PARTS, [*_TIMES, "day_a"])]
    + [f"{f}({a})" for f, a in product(_CLOCK, _TIMES)],
    "spans": [f"date_trunc('{p}', {a})" for p, a in product(_LENGTHS, _TIMES)]
    + [f"date_diff('{p}', {a}, {b})" for p, a, b in product(_LENGTHS, _TIMES, _TIMES)]
    + [f"{a} {op} interval {i}" for a, op, i in product(_TIMES, "+-", ["1 day", "90 minute", "1 second"])]
    + ["day_a - day_b", "date_diff('day', day_a, day_b)", "seen_a::date", "seen_b::date", "day_a::timestamp"]
    + ["seen_a::timestamptz", "seen_b::timestamp", "day_a::timestamptz"],
    "logic": [
        "flag and real_a > 0 and count_a > 1",
        "flag or real_a > 0 or count_a > 1",
        "not flag",
        "count_a in (1, 2, total_a)",
        "word_a not in ('a', word_b)",
        "coalesce(count_a, total_a, 0)",
        "nullif(real_a, 0)",
        "case when count_a > 0 then 1 // count_a when flag then small + count_b end",
        "coalesce(count_a, 1 // count_b)",
        "(count_a > 0) and (1 // count_b > 0)",
        "(count_a > 0) or (count_a + count_b > 0)",
        "count_a between small and count_b",
    ],
}  # fmt: skip


def _bits(value):
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


def _native(binder, sql):
    try:
        bound = binder.bind(sql)
        declared = parse_type(bound.type)
    except ContractError:
        return None
    function = native_function(bound.tree, SLOTS, binder.constant)
    return None if function is None else (declared, function)


@pytest.mark.parametrize("group", EXPRESSIONS)
def test_every_function_gives_duckdbs_value_to_the_bit(binder, columns, group):
    found = {sql: made for sql in EXPRESSIONS[group] if (made := _native(binder, sql)) is not None}
    assert len(found) > len(EXPRESSIONS[group]) // 4
    features = [
        RequestFeature(name=str(at), type=made[0], sql=sql)
        for at, (sql, made) in enumerate(found.items())
    ]
    rows = list(zip([AT] * ROWS, *columns.values(), strict=True))
    wanted = DuckdbRows(TYPES, features).values(
        [one.name for one in features], ROWS, AT, list(columns.values())
    )
    for feature in features:
        answered = 0
        function = found[feature.sql][1]
        for row, value in zip(rows, wanted[feature.name], strict=True):
            try:
                ours = function(row)
            except (ArithmeticError, ValueError):
                continue
            answered += 1
            assert _bits(ours) == _bits(value), (feature.sql, row, ours, value)
        assert answered > 0, feature.sql
