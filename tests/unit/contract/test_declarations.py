"""Durations, defaults and the agreement with the macros that read the same declarations."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from featmill.contract.declarations import AGGREGATES, FeatureDeclaration, parse_duration
from featmill.contract.defaults import expected_default
from featmill.contract.types import parse_type
from featmill.errors import ContractError


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("1h", timedelta(hours=1)),
        (" 7d ", timedelta(days=7)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_exact_seconds(text, duration):
    """Rule 1."""
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["7", "7w", "1.5h", "-1d", "7 d", "d", "", "1D", "\u0667d", None, 7]
)
def test_anything_else_is_no_duration(text):
    with pytest.raises(ContractError, match="is not a duration"):
        parse_duration(text)


def test_a_duration_has_an_end():
    with pytest.raises(ContractError, match="longer than time itself"):
        parse_duration("9999999999d")


def test_the_macros_compute_the_same_aggregates(repository):
    macro = (repository / "macros/windows/_aggregate_plan.sql").read_text(encoding="utf-8")

    assert tuple(re.findall(r"^        '(\w+)':", macro, re.MULTILINE)) == AGGREGATES


def test_the_macros_read_only_declared_keys(repository):
    read = {
        key
        for path in (repository / "macros/windows").glob("*.sql")
        for key in re.findall(r"feature\.get\('(\w+)'\)", path.read_text(encoding="utf-8"))
    }

    assert read
    assert read <= {*FeatureDeclaration.model_fields, "name", "data_type"}  # dbt's own of a column


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        ("boolean", False),
        ("tinyint", -128),
        ("utinyint", 255),
        ("integer", 2**31 - 1),
        ("uinteger", 2**32 - 1),
        ("bigint", -(2**63)),
        ("float", 0),
        ("double", 0.5),
        ("decimal(15, 2)", 0),
        ("decimal(15, 2)", 1.25),
        ("decimal(15, 2)", "0.10"),
        ("decimal(38, 0)", "12345678901234567890"),
        ("varchar", ""),
        ("uuid", "00000000-0000-0000-0000-000000000000"),
        ("enum('a', 'b')", "b"),
        ("blob", "x"),
        ("date", "2026-01-31"),
        ("timestamp", "2026-01-31T06:00:00"),
        ("timestamptz", "2026-01-31T06:00:00+00:00"),
        ("integer[]", []),
        ("integer[]", [1, None]),
    ],
)
def test_a_default_is_a_value_of_its_type(data_type, value):
    assert expected_default(value, parse_type(data_type)) is None


@pytest.mark.parametrize(
    ("data_type", "value", "expected"),
    [
        ("boolean", 0, "true or false"),
        ("boolean", "false", "true or false"),
        ("tinyint", 128, "a whole number from -128 to 127"),
        ("utinyint", -1, "a whole number from 0 to 255"),
        ("integer", True, "a whole number from -2147483648 to 2147483647"),
        ("bigint", 0.0, "a whole number from -9223372036854775808 to 9223372036854775807"),
        ("double", "0", "a number"),
        ("double", True, "a number"),
        ("double", float("nan"), "a number"),
        ("float", float("inf"), "a number"),
        ("decimal(15, 2)", 0.125, "a number of at most 15 digits, 2 of them after the point"),
        ("decimal(3, 2)", 10, "a number of at most 3 digits, 2 of them after the point"),
        ("decimal(3, 2)", "ten", "a number of at most 3 digits, 2 of them after the point"),
        ("decimal(3, 2)", "nan", "a number of at most 3 digits, 2 of them after the point"),
        ("decimal(3, 2)", False, "a number of at most 3 digits, 2 of them after the point"),
        ("varchar", 0, "a text"),
        ("uuid", "0", "a UUID, as text"),
        ("enum('a', 'b')", "c", "one of a, b"),
        ("date", "31.01.2026", "a day such as 2026-01-31"),
        ("timestamp", "noon", "a moment such as 2026-01-31T06:00:00"),
        ("timestamp", 0, "a moment such as 2026-01-31T06:00:00"),
        ("timestamp", "2026-01-31T06:00:00.5", "a whole second, or online_type: int64"),
        ("integer[]", 0, "a list of INT"),
        ("integer[]", [1.5], "a whole number from -2147483648 to 2147483647"),
    ],
)
def test_a_default_of_another_type_says_what_was_expected(data_type, value, expected):
    assert expected_default(value, parse_type(data_type)) == expected


def test_a_moment_stored_as_int64_may_have_a_fraction():
    stored = parse_type("timestamp").stored_as("int64")

    assert expected_default("2026-01-31T06:00:00.5", stored) is None
    assert stored.feast == "Int64"
