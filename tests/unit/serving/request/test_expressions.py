"""Request-time expressions as Python functions: DuckDB's own values, to the bit, or DuckDB is asked (rule 2).

What is compared with is the plain expression over typed values, run by DuckDB without any of our compiling.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import event, given, settings

from featmill.contract.types import parse_type
from featmill.errors import ContractError
from featmill.serving.moments import micros_of
from featmill.serving.request.native import native_function
from featmill.serving.request.sql import AS_OF, Binder, connect
from featmill.serving.request.values import reader_of, sent_form
from tests.unit.serving.request.expressions import EXPRESSIONS, MOMENTS, ROWS, TYPES

SLOTS = {AS_OF: 0} | {name: at for at, name in enumerate(TYPES, start=1)}
READERS = {name: reader_of(kind) for name, kind in TYPES.items()}


@pytest.fixture(scope="module")
def binder():
    with Binder(TYPES) as opened:
        yield opened


@pytest.fixture(scope="module")
def duckdb():
    with connect() as opened:
        yield opened


def native(binder, sql):
    """The bound expression, and the function of it or None."""
    bound = binder.bind(sql)
    return bound, native_function(bound.tree, SLOTS, binder.constant)


def by_duckdb(connection, bound, sql, row):
    """The value of the plain expression over one row, in the form between."""
    inputs, parameters = [f"make_timestamp($1::BIGINT) AS {AS_OF}"], [row[0]]
    for name in sorted(bound.columns - {AS_OF}):
        kind, made, form = sent_form(TYPES[name])
        value = row[SLOTS[name]]
        parameters.append(value if value is None or form is None else form(value))
        inputs.append(f"{made.format(f'${len(parameters)}::{kind}')} AS {name}")
    value = f"TRY(({sql}))"
    if bound.type == "DATE":
        value = f"({value} - DATE '1970-01-01')"
    elif bound.type.startswith("TIMESTAMP"):
        value = f"epoch_us({value})"
    text = f"SELECT {value} FROM (SELECT {', '.join(inputs)})"
    return connection.execute(text, parameters).fetchall()[0][0]


def bits(value, kind):
    """Two values are one where their types and bits are."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if kind.startswith("DECIMAL") and value is not None:
        scale = int(kind[:-1].partition(",")[2])
        return value if isinstance(value, int) else int(value.scaleb(scale))
    return type(value), value


def read(row, as_of):
    values = [None if row[name] is None else READERS[name](row[name]) for name in TYPES]
    return [micros_of(as_of), *values]


@settings(max_examples=400)
@given(sql=EXPRESSIONS, rows=ROWS, as_of=MOMENTS)
def test_a_function_gives_duckdbs_value_to_the_bit_or_leaves_it_to_duckdb(
    binder, duckdb, sql, rows, as_of
):
    try:
        bound, function = native(binder, sql)
    except ContractError as error:
        event(f"not bound: {error.message[:20]}")
        return
    event("outside" if function is None else "native")
    for row in rows if function is not None else ():
        values = read(row, as_of)
        try:
            found = function(values)
        except (ArithmeticError, ValueError):
            event("care")
            continue
        wanted = by_duckdb(duckdb, bound, sql, values)
        assert bits(found, bound.type) == bits(wanted, bound.type), (sql, values)


#: What is computed without DuckDB: a change that drops one of these makes requests slow, and no value wrong.
NATIVE = (
    "epoch_us(as_of) - epoch_us(seen_a)",
    "(epoch(as_of) - epoch(seen_a)) / 3600",
    "hour(as_of)",
    "isodow(as_of) >= 6",
    "price_a / nullif(real_a, 0)",
    "price_a / nullif(price_b, 0)",
    "price_a * 2 + price_b",
    "wide > 1",
    "round(real_a)",
    "case when country > 2 then ln(real_a) else 0 end".replace("country", "count_a"),
    "coalesce(word_a, 'none') || '/' || lower(word_b)",
    "least(count_a, count_b, 3)",
    "len(numbers)",
    "date_trunc('month', as_of)",
    "as_of - interval 7 day < seen_a",
    "date_diff('day', seen_a, as_of)",
    "word_a in ('a', 'b') and not flag",
    "cast(real_a as integer)",
    "abs(count_a) % 7",
)


@pytest.mark.parametrize("sql", NATIVE)
def test_what_is_usual_is_computed_without_duckdb(binder, sql):
    assert native(binder, sql)[1] is not None


#: Where Python and DuckDB differ, or where equality was not shown.
LEFT = (
    "single + 1",
    "round(real_a, 2)",
    "real_a // 2",
    "cast(real_a as varchar)",
    "cast(word_a as integer)",
    "word_a like 'a%'",
    "seen_a - seen_b",
    "as_of + interval 1 month",
    "date_diff('week', seen_a, as_of)",
    "cast(price_a as integer)",
    "epoch(seen_b)",
    "epoch_ms(seen_a)",
    "list_sum(numbers)",
    "try(ln(real_a))",
    "strftime(as_of, '%Y')",
    "concat(numbers, numbers)",
)


@pytest.mark.parametrize("sql", LEFT)
def test_what_is_not_proven_is_left_to_duckdb(binder, sql):
    assert native(binder, sql)[1] is None


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("total_a + 1", {"total_a": 2**63 - 1}),
        ("ln(real_a)", {"real_a": 0.0}),
        ("ln(real_a)", {"real_a": -1.0}),
        ("real_a / real_b", {"real_a": 1.0, "real_b": 0.0}),
        ("real_a - real_b", {"real_a": float("inf"), "real_b": float("inf")}),
        ("real_a * 0", {"real_a": float("inf")}),
        ("count_a // count_b", {"count_a": 1, "count_b": 0}),
        ("-small", {"small": -(2**15)}),
        ("real_a::integer", {"real_a": 2147483647.5}),
        ("lower(word_a)", {"word_a": "İ"}),
        ("pow(real_a, real_b)", {"real_a": 10.0, "real_b": 400.0}),
    ],
)
def test_a_value_that_needs_care_is_not_answered(binder, sql, row):
    function = native(binder, sql)[1]
    values = [0, *(row.get(name) for name in TYPES)]

    with pytest.raises((ArithmeticError, ValueError)):
        function(values)


def test_a_branch_that_is_not_taken_fails_nobody(binder):
    function = native(binder, "case when real_a > 0 then ln(real_a) end")[1]

    assert function([0, *(0.0 if name == "real_a" else None for name in TYPES)]) is None


def test_a_moment_written_as_text_is_read_once(binder):
    function = native(binder, "epoch_us(timestamp '2026-01-01 00:00:00')")[1]

    assert function([]) == 1_767_225_600_000_000


def test_types_are_duckdbs_own(binder):
    assert binder.bind("count_a + 1").type == "INTEGER"
    assert binder.bind("price_a * price_b").type == "DECIMAL(18,4)"
    assert binder.type_of(parse_type("varchar[]")) == "VARCHAR[]"
