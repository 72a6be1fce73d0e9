"""Request features: what is refused when they are declared and when they are asked for, and what they come to."""

from __future__ import annotations

import math
import struct
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featmill.contract.catalog import FeatureService, RequestFeature, RequestField
from featmill.contract.types import parse_type
from featmill.errors import ContractError, EncodingError, RequestError
from featmill.serving.request import features as request_features
from featmill.serving.request.features import RequestPlan, check_expressions
from featmill.serving.request.sql import Binder
from tests.unit.serving.request.expressions import COLUMNS, EXPRESSIONS, MOMENTS, ROWS, TYPES

NOON = datetime(2026, 1, 3, 12, tzinfo=UTC)  # a Saturday
STORED = {"last_event_at": "timestamp", "mean_30d": "double", "bought": "decimal(15, 2)"}
SENT = {"price": "decimal(10, 2)", "country": "varchar"}
FEATURES = {
    "since_last": ("bigint", "epoch_us(as_of) - epoch_us(last_event_at)"),
    "current_hour": ("integer", "hour(as_of)::integer"),
    "is_weekend": ("boolean", "isodow(as_of) >= 6"),
    "price_ratio": ("double", "price / nullif(mean_30d, 0)"),
    "is_new": ("boolean", "last_event_at is null"),
}


def service(features, sent=SENT):
    return FeatureService(
        name="churn",
        description="",
        owner=None,
        features=(),
        request_fields=tuple(
            RequestField(name=name, type=parse_type(kind)) for name, kind in sent.items()
        ),
        request_features=tuple(
            RequestFeature(name=name, type=parse_type(kind), sql=sql)
            for name, (kind, sql) in features.items()
        ),
    )


def types(stored):
    return {name: parse_type(kind) for name, kind in stored.items()}


def plan(features=None, *, stored=STORED, sent=SENT):
    return RequestPlan.compiled(service(features or FEATURES, sent), types(stored))


def one(kind, sql, stored=None, sent=None, as_of=NOON):
    """The only feature of one row, its inputs given as name -> (type, value)."""
    stored, sent = stored or {}, sent or {}
    made = plan(
        {"it": (kind, sql)},
        stored={name: given[0] for name, given in stored.items()},
        sent={name: given[0] for name, given in sent.items()},
    )
    values = [{name: [given[1]] for name, given in of.items()} for of in (stored, sent)]
    return made.evaluate(1, *values, as_of)["it"][0]


def test_the_features_of_a_row():
    """Rule 2: the clock is as_of, whatever its zone."""
    found = plan().evaluate(
        2,
        {
            "last_event_at": [NOON - timedelta(hours=1), None],
            "mean_30d": [0.5, 0.0],
            "bought": [1.25, None],
        },
        {"price": [1.25, 3], "country": ["DE", None]},
        NOON.astimezone(timezone(timedelta(hours=9))),
    )

    assert found == {
        "since_last": [3_600_000_000, None],
        "current_hour": [12, 12],
        "is_weekend": [True, True],
        "price_ratio": [2.5, None],
        "is_new": [False, True],
    }
    assert list(found) == list(FEATURES)


def test_it_is_said_what_computes_a_feature():
    features = FEATURES | {"rounded": ("double", "round(mean_30d, 2)")}

    assert plan(features).engines == dict.fromkeys(FEATURES, "native") | {"rounded": "duckdb"}


@pytest.mark.parametrize(
    ("sql", "wrong"),
    [
        ("sum(mean_30d)", "an aggregate is not computed from one row"),
        ("row_number() over ()", "a window function is not computed from one row"),
        ("(select 1)", "a subquery is not computed from one row"),
        ("exists (select 1)", "a subquery is not computed from one row"),
        ("price in (select 1)", "a subquery is not computed from one row"),
        ("unnest([1])", "unnest is not computed from one row"),
        ("*", "several columns at once is not computed from one row"),
        ("columns('p.*')", "several columns at once is not computed from one row"),
        ("$1", "a parameter is not computed from one row"),
        ("?", "a parameter is not computed from one row"),
        ("#1", "a column by its position is not computed from one row"),
        ("now()", "now() depends on when or by whom it is called (rule 2): the clock is as_of"),
        ("current_date", "current_date() depends on"),
        ("today()", "today() depends on"),
        ("localtimestamp", "depends on when or by whom"),
        ("random()", "random() depends on"),
        ("uuid()", "uuid() depends on"),
        ("list_transform([1], lambda x: x + random())", "random() depends on"),
        ("current_user", "current_user() depends on"),
        ("getvariable('x')", "getvariable() depends on"),
        ("age(as_of)", "age() of one moment reads the clock"),
        ("prise", 'Referenced column "prise" not found'),
        ("rowid", "there is no column rowid"),
        ("request_inputs.price", "there is no column request_inputs.price"),
        ("price +", "syntax error"),
        ("1) , (2", "another query is not computed from one row"),
        ("1) FROM request_inputs --", "syntax error"),
        ("1; select 2", "syntax error"),
        ("", "it gives TUPLE, the declaration says DOUBLE"),
        ("country", "it gives VARCHAR, the declaration says DOUBLE"),
        ("epoch_us(as_of)", "it gives BIGINT, the declaration says DOUBLE"),
        ("read_text('/etc/passwd')", "table function"),
    ],
)
def test_an_expression_that_is_not_of_one_row_or_reads_the_clock_is_refused(sql, wrong):
    features = {"bad": ("double", sql)}
    with pytest.raises(ContractError) as refused:
        plan(features)

    assert refused.value.message.startswith(f"churn: request feature bad ({sql}): ")
    assert wrong in refused.value.message
    assert refused.value.hint is not None
    assert check_expressions(service(features), types(STORED)) == [refused.value.message]


def test_every_mistake_is_listed_and_a_sound_service_has_none():
    features = FEATURES | {"a": ("double", "nowhere"), "b": ("double", "now()")}

    assert len(check_expressions(service(features), types(STORED))) == 2
    assert check_expressions(service(FEATURES), types(STORED)) == []
    assert check_expressions(service({}), types(STORED)) == []


@pytest.mark.parametrize(
    ("stored", "sent", "wrong"),
    [
        ({"price": "double"}, {"price": "double"}, "price is a request field and a stored feature"),
        ({"As_Of": "timestamp"}, {}, "two inputs are called As_Of"),
        ({"x": "double"}, {"X": "double"}, "x is a request field and a stored feature"),
    ],
)
def test_two_inputs_of_one_name_are_refused(stored, sent, wrong):
    declared = service({"a": ("integer", "1")}, sent)

    (found,) = check_expressions(declared, types(stored))
    assert found.startswith(f"churn: {wrong}")


@pytest.mark.parametrize(
    ("declared", "sql", "fits"),
    [
        ("bigint", "1", True),
        ("smallint", "1", False),
        ("double", "1", True),
        ("double", "1::bigint", False),
        ("double", "1.5", True),
        ("double", "1.5::decimal(16, 2)", False),
        ("float", "1.5::double", False),
        ("double", "1.5::float", True),
        ("decimal(10, 2)", "1", False),
        ("decimal(12, 2)", "1", True),
        ("decimal(12, 2)", "1.5::decimal(10, 2)", True),
        ("decimal(12, 2)", "1.5::decimal(12, 3)", False),
        ("timestamp", "as_of::date", True),
        ("timestamptz", "as_of", True),
        ("date", "as_of", False),
        ("varchar", "null", True),
        ("varchar", "1", False),
        ("bigint", "list_sum([1])", False),
        ("bigint[]", "[1::bigint]", True),
        ("bigint[]", "[1]", False),
        ("uuid", "'x'", True),
    ],
)
def test_the_type_is_the_declared_one_or_goes_into_it_without_loss(declared, sql, fits):
    found = check_expressions(service({"a": (declared, sql)}), {})

    assert (found == []) is fits, found


@pytest.mark.parametrize(
    ("kind", "given", "seen"),
    [
        ("decimal(10, 2)", 19.99, "19.99"),
        ("decimal(10, 2)", 3, "3.00"),
        ("decimal(10, 2)", Decimal("-0.05"), "-0.05"),
        (
            "decimal(38, 3)",
            "12345678901234567890123456789012345.678",
            "12345678901234567890123456789012345.678",
        ),
        ("timestamp", "2026-01-01T01:00:00+02:00", "2025-12-31 23:00:00"),
        ("timestamptz", NOON, "2026-01-03 12:00:00+00"),
        ("date", date(2026, 1, 31), "2026-01-31"),
        ("date", "0001-01-01", "0001-01-01"),
        ("double", 3, "3.0"),
        ("double", math.nan, None),
        ("float", 0.1, "0.1"),
        ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("enum('a', 'it''s')", "it's", "it's"),
        ("boolean", True, "true"),
        ("bigint[]", [1, None], "[1, NULL]"),
        ("decimal(5, 2)[]", [1.25], "[1.25]"),
        ("timestamp[]", [NOON], "['2026-01-03 12:00:00']"),
        ("bigint", None, None),
    ],
)
def test_an_expression_sees_a_sent_value_in_its_contract_type(kind, given, seen):
    assert one("varchar", "x::varchar", sent={"x": (kind, given)}) == seen


@pytest.mark.parametrize(
    ("declared", "sql", "answer"),
    [
        ("decimal(10, 2)", "19.99::decimal(10, 2)", 19.99),
        ("decimal(20, 3)", "-0.005::decimal(20, 3)", "-0.005"),
        ("timestamp", "as_of", NOON),
        ("timestamptz", "as_of", NOON),
        ("timestamp", "timestamp '20260-01-01'", None),
        ("timestamp", "'infinity'::timestamp", None),
        ("date", "as_of::date", date(2026, 1, 3)),
        ("uuid", "'A'", "A"),
        ("timestamp[]", "[as_of, null, 'infinity']", [NOON, None, None]),
        ("decimal(4, 1)[]", "[1.5::decimal(4, 1)]", [1.5]),
        ("blob", "'\\x00a'::blob", b"\x00a"),
    ],
)
@pytest.mark.parametrize("few", [0, 256])
def test_an_answer_is_in_the_online_form_whatever_computes_it(
    monkeypatch, few, declared, sql, answer
):
    monkeypatch.setattr(request_features, "FEW", few)

    found = one(declared, sql)

    assert (type(found), found) == (type(answer), answer)


@pytest.mark.parametrize(
    ("declared", "sql", "sent"),
    [
        ("bigint", "x + 1", ("bigint", 2**63 - 1)),
        ("integer", "x::integer", ("varchar", "no number")),
        ("integer", "1 // x", ("integer", 0)),
    ],
)
def test_a_value_that_cannot_be_computed_is_null_and_the_rows_beside_it_are_not(
    declared, sql, sent
):
    made = plan({"it": (declared, sql)}, stored={}, sent={"x": sent[0]})
    fine = 1 if isinstance(sent[1], int) else "1"

    found = made.evaluate(3, {}, {"x": [fine, sent[1], fine]}, NOON)["it"]

    assert found[1] is None
    assert found[0] is not None
    assert found[0] == found[2]


@pytest.mark.parametrize(
    ("request_", "field", "wrong"),
    [
        ({"price": [1.0]}, "request.country", "churn needs the request field country"),
        ({"price": [1.0], "country": ["DE"], "x": [1]}, "request.x", "has no request field x"),
        ({"price": [1.0, 2.0], "country": ["DE"]}, "request.price", "has 2 values, expected 1"),
        (
            {"price": ["x"], "country": ["DE"]},
            "request.price",
            "'x' in row 0, expected a number of",
        ),
        ({"price": [1.234], "country": ["DE"]}, "request.price", "at most 10 digits, 2 of them"),
        ({"price": [1e9], "country": ["DE"]}, "request.price", "at most 10 digits"),
        ({"price": [math.inf], "country": ["DE"]}, "request.price", "at most 10 digits"),
        ({"price": [True], "country": ["DE"]}, "request.price", "at most 10 digits"),
        ({"price": [1.0], "country": [7]}, "request.country", "expected a text"),
        ({"price": [1.0], "country": ["\ud800"]}, "request.country", "whole Unicode characters"),
    ],
)
def test_a_wrong_request_names_its_field(request_, field, wrong):
    with pytest.raises(RequestError) as refused:
        plan().check_request(1, request_)

    assert refused.value.field == field
    assert wrong in refused.value.message


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("integer", [1.0, True, "1", 2**31]),
        ("utinyint", [-1, 256]),
        ("double", ["1", True, 10**400]),
        ("float", [1e300]),
        ("boolean", [1, "true"]),
        ("date", [NOON, "2026-13-01", "today", 1]),
        ("timestamp", ["2026-01-01T00:00:00", datetime(2026, 1, 1), date(2026, 1, 1), 1, "now"]),  # noqa: DTZ001
        ("uuid", ["x", 1]),
        ("enum('a')", ["b", 1]),
        ("blob", ["x"]),
        ("bigint[]", [1, ["x"], "12"]),
        ("decimal(20, 2)", ["1.234", "x", "1e30", "nan", "1e999999999"]),
    ],
)
def test_a_value_of_another_type_is_refused(kind, wrong):
    made = plan({"it": ("boolean", "x is null")}, stored={}, sent={"x": kind})

    for value in wrong:
        with pytest.raises(RequestError, match=r"request field x: .* in row 1, expected "):
            made.check_request(2, {"x": [None, value]})


def test_a_null_may_be_sent_and_numpy_too():
    made = plan()
    made.check_request(2, {"price": [None, 1.5], "country": ["DE", None]})

    made.check_request(2, {"price": np.array([1.5, 2.5]).tolist(), "country": ["a", "b"]})


class Colour(str, Enum):  # noqa: UP042 - a StrEnum is its text already
    """Of which Python says `Colour.RED`, as text too."""

    RED = "red"


@pytest.mark.parametrize(
    ("kind", "value", "seen"),
    [
        ("double", np.float64(1.5), 1.5),
        ("double", np.float32(1.5), 1.5),
        ("double", np.int64(2), 2.0),
        ("double", np.float64("nan"), None),
        ("bigint", np.int64(7), 7),
        ("integer", np.uint8(7), 7),
        ("decimal(6, 2)", np.float64(0.1), 0.1),
        ("decimal(6, 2)", np.int32(3), 3.0),
        ("boolean", np.bool_(True), True),
        ("varchar", np.str_("red"), "red"),
        ("varchar", Colour.RED, "red"),
        ("enum('red', 'blue')", Colour.RED, "red"),
    ],
)
@pytest.mark.parametrize("rows", [1, 300])
def test_numpys_scalars_and_members_of_enumerations_are_their_values(kind, value, seen, rows):
    made = plan({"same": (kind, "x")}, stored={}, sent={"x": kind})
    made.check_request(rows, {"x": [value] * rows})

    assert made.evaluate(rows, {}, {"x": [value] * rows}, NOON) == {"same": [seen] * rows}


def test_a_stored_value_of_another_type_says_so():
    with pytest.raises(EncodingError, match="stored feature mean_30d: 'x', expected a number"):
        plan().evaluate(
            1,
            {"last_event_at": [None], "mean_30d": ["x"], "bought": [None]},
            {"price": [1], "country": ["DE"]},
            NOON,
        )


def test_only_what_is_read_has_to_be_there():
    made = plan({"h": ("bigint", "hour(as_of)")})

    assert made.evaluate(3, {}, {}, NOON) == {"h": [12, 12, 12]}
    assert made.evaluate(0, {}, {}, NOON) == {"h": []}


def test_a_text_that_duckdb_leaves_out_still_names_its_column():
    assert one("varchar", "x || null", sent={"x": ("varchar", "a")}) is None


def bits(value):
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


@settings(max_examples=60)
@given(sql=EXPRESSIONS, rows=ROWS, as_of=MOMENTS)
def test_few_rows_and_many_are_answered_alike(sql, rows, as_of):
    """The Python functions and DuckDB, through the whole plan: inputs, casts, statements, the online form."""
    with Binder(TYPES) as binder:
        try:
            declared = binder.bind(sql).type
        except ContractError:
            return
    if declared in ("HUGEINT", "NULL", "UHUGEINT"):
        return
    made = plan({"it": (declared, sql)}, stored=COLUMNS, sent={})
    stored = {name: [row[name] for row in rows] for name in COLUMNS}

    one_by_one = [
        made.evaluate(1, {name: [row[name]] for name in COLUMNS}, {}, as_of)["it"][0]
        for row in rows
    ]
    together = made.evaluate(len(rows), stored, {}, as_of)["it"]
    times = 300 // len(rows) + 1
    many = made.evaluate(
        len(rows) * times, {name: values * times for name, values in stored.items()}, {}, as_of
    )["it"]

    assert [bits(value) for value in together] == [bits(value) for value in one_by_one]
    assert [bits(value) for value in many] == [bits(value) for value in one_by_one * times]


def test_many_rows_keep_their_order():
    """More than one call of DuckDB."""
    made = plan({"it": ("double", "round(x, 1)")}, stored={}, sent={"x": "double"})
    numbers = [n / 2 for n in range(5_000)]

    assert made.evaluate(5_000, {}, {"x": numbers}, NOON)["it"] == numbers


def test_threads_may_share_a_plan():
    made = plan({"it": ("double", "round(x, 1)")}, stored={}, sent={"x": "double"})

    def ask(number):
        return made.evaluate(2, {}, {"x": [float(number), None]}, NOON)["it"]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(200)))

    assert found == [[float(number), None] for number in range(200)]


@given(st.decimals(-(10**13) + 1, 10**13 - 1, places=2, allow_nan=False))
def test_a_decimal_survives_the_way_through_a_float(number):
    """Online a DECIMAL of at most 15 digits is a float: the expression sees the decimal again."""
    assert one("varchar", "x::varchar", stored={"x": ("decimal(15, 2)", float(number))}) == str(
        number
    )
