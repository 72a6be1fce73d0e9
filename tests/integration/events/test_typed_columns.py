"""What staging makes of texts: whole numbers and moments, or NULL so that the row is refused (rules 1 and 10)."""

from __future__ import annotations

from datetime import datetime

import duckdb
import pytest

from tests.integration.windows.rendered import macros

LONDON = "Europe/London"


def typed(expression: str, value: str, kind: str = "VARCHAR", session: str = "Asia/Tokyo"):
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = '{session}'")
        ((found,),) = connection.execute(
            f"SELECT {expression} FROM (VALUES (CAST(? AS {kind}))) AS source (given)", [value]
        ).fetchall()
    return found


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", 5),
        (" -7 ", -7),
        ("5.0", 5),
        ("5.7", None),
        ("5.5", None),
        ("4.9999999999", None),
        ("5.0000000001", None),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("five", None),
        ("", None),
        (None, None),
    ],
)
def test_a_number_with_a_fraction_is_no_key(text, number):
    """Rule 16: nothing is converted in silence; a bare try_cast makes 6 of 5.7."""
    assert typed(macros().whole_number("given"), text) == number


def test_a_number_too_wide_for_its_type_is_none():
    assert typed(macros().whole_number("given", "integer"), "2147483648") is None
    assert typed(macros().whole_number("given", "integer"), "5.7", "DOUBLE") is None


@pytest.mark.parametrize(
    ("text", "kind", "declared", "moment"),
    [
        # It says its zone: that counts, whatever is declared.
        ("2026-06-15T12:00:00Z", "VARCHAR", None, "2026-06-15 12:00"),
        ("2026-06-15 12:00:00.25+01", "VARCHAR", None, "2026-06-15 11:00:00.25"),
        ("2026-06-15T12:00:00+05:30", "VARCHAR", LONDON, "2026-06-15 06:30"),
        ("2026-06-15 12:00-0330", "VARCHAR", None, "2026-06-15 15:30"),
        ("2026-06-15 12:00:00 UTC", "VARCHAR", None, "2026-06-15 12:00"),
        ("2026-06-15 12:00:00+00", "TIMESTAMPTZ", None, "2026-06-15 12:00"),
        # It does not: refused, or read in the declared zone.
        ("2026-06-15 12:00:00", "VARCHAR", None, None),
        ("2026-06-15 12:00:00", "VARCHAR", "UTC", "2026-06-15 12:00"),
        ("2026-06-15 12:00:00", "VARCHAR", LONDON, "2026-06-15 11:00"),
        ("2026-01-15 12:00:00", "VARCHAR", LONDON, "2026-01-15 12:00"),
        ("2026-06-15 12:00:00", "TIMESTAMP", None, None),
        ("2026-06-15 12:00:00", "TIMESTAMP", LONDON, "2026-06-15 11:00"),
        # The end of a day is no offset.
        ("2026-06-15", "VARCHAR", None, None),
        ("2026-06-15", "VARCHAR", LONDON, "2026-06-14 23:00"),
        ("soon", "VARCHAR", LONDON, None),
        (None, "VARCHAR", LONDON, None),
    ],
)
def test_a_time_is_utc_or_says_its_zone_or_is_none(text, kind, declared, moment):
    """Rule 1: never the session's zone."""
    found = typed(macros().utc("given", declared), text, kind)

    assert found == (None if moment is None else datetime.fromisoformat(moment))


@pytest.mark.parametrize(
    ("text", "kind", "naive"),
    [
        ("2026-06-15 12:00:00", "VARCHAR", True),
        ("2026-06-15", "VARCHAR", True),
        ("2026-06-15 12:00:00", "TIMESTAMP", True),
        ("2026-06-15 12:00:00Z", "VARCHAR", False),
        ("2026-06-15 12:00:00+00", "TIMESTAMPTZ", False),
        ("soon", "VARCHAR", False),
        (None, "VARCHAR", False),
    ],
)
def test_a_time_without_a_zone_is_told_from_no_time(text, kind, naive):
    assert typed(macros().without_zone("given"), text, kind) is naive
