"""Calendar windows: local days, ISO weeks and months in zones whose clocks skip and repeat hours (rules 1 and 4)."""

from __future__ import annotations

from datetime import datetime, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.windows.rendered import CompilerError, macros
from tests.integration.windows.streams import CALENDARS, EPOCH, UNITS, first_instant

CONNECTION = duckdb.connect(config={"threads": 1})
ZONES = sorted(
    {zone for _, zone, _ in CALENDARS} | {"America/St_Johns", "Africa/Cairo", "Asia/Gaza"}
)


def start(moment: str, calendar: str, zone: str, delay: str = "0s") -> datetime:
    sql = macros().calendar_start("moment", calendar, zone, delay)
    ((found,),) = CONNECTION.execute(
        f"SELECT {sql} FROM (VALUES (CAST(? AS TIMESTAMP))) AS given (moment)", [moment]
    ).fetchall()
    return found


@pytest.mark.parametrize(
    ("zone", "moment", "calendar", "begins"),
    [
        ("Europe/London", "2026-01-15 12:00", "day", "2026-01-15 00:00"),
        # Summer time: midnight in London is 23:00 UTC of the day before.
        ("Europe/London", "2026-06-15 22:59:59.999999", "day", "2026-06-14 23:00"),
        ("Europe/London", "2026-06-15 23:00", "day", "2026-06-15 23:00"),
        # The days of 23 and of 25 hours.
        ("Europe/London", "2026-03-29 22:59", "day", "2026-03-29 00:00"),
        ("Europe/London", "2026-10-25 23:59", "day", "2026-10-24 23:00"),
        # ISO weeks begin on Monday; a month may begin in the other half of the year.
        ("Europe/London", "2026-03-29 22:59", "week", "2026-03-23 00:00"),
        ("Europe/London", "2026-03-29 23:00", "week", "2026-03-29 23:00"),
        ("Europe/London", "2026-10-31 12:00", "month", "2026-09-30 23:00"),
        ("Asia/Kolkata", "2026-01-31 18:30", "month", "2026-01-31 18:30"),
        # Half an hour of summer time.
        ("Australia/Lord_Howe", "2026-04-05 12:00", "day", "2026-04-04 13:00"),
        # The clocks skip midnight: the day begins at 01:00.
        ("America/Sao_Paulo", "2018-11-04 12:00", "day", "2018-11-04 03:00"),
        ("Asia/Beirut", "2024-03-31 12:00", "day", "2024-03-30 22:00"),
        ("America/Asuncion", "2023-10-31 12:00", "month", "2023-10-01 04:00"),
        # Midnight occurs twice: the first one, also seen from between the two.
        ("America/Havana", "2024-11-03 04:30", "day", "2024-11-03 04:00"),
        ("America/Havana", "2024-11-03 12:00", "day", "2024-11-03 04:00"),
        ("America/St_Johns", "2005-10-30 12:00", "day", "2005-10-30 02:30"),
        # At midnight the clocks go back into the day before, which ends an hour later.
        ("Asia/Beirut", "2024-10-26 21:30", "day", "2024-10-25 21:00"),
        ("Asia/Beirut", "2024-10-26 22:00", "day", "2024-10-26 22:00"),
        # The day that Samoa skipped: the week began before it and has six days.
        ("Pacific/Apia", "2011-12-30 10:00", "day", "2011-12-30 10:00"),
        ("Pacific/Apia", "2011-12-31 09:00", "week", "2011-12-26 10:00"),
    ],
)
def test_a_local_day_begins_at_its_first_instant(zone, moment, calendar, begins):
    """Rule 1: midnight in the zone; the first of two, or where there is none, what comes first."""
    assert start(moment, calendar, zone) == datetime.fromisoformat(begins)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(["day", "week", "month"]),
    st.integers(0, 24_000),
    st.integers(-3 * 3600, 3 * 3600),
)
def test_calendars_agree_with_pythons(zone, calendar, day, seconds):
    """Another implementation with tables of its own: from 1970 to 2035, around every local midnight."""
    midnight = first_instant(day * UNITS["d"], "day", zone)
    moment = midnight + seconds * UNITS["s"]

    begins = start(str(EPOCH + timedelta(microseconds=moment)), calendar, zone)

    assert begins == EPOCH + timedelta(microseconds=first_instant(moment, calendar, zone))


@pytest.mark.parametrize("zone", ZONES)
def test_the_days_of_a_zone_follow_each_other(zone):
    """Over every quarter of an hour of 24 years: a day begins before what it holds, and lasts 25 hours at most."""
    sql = macros().calendar_start("moment", "day", zone)
    wrong = CONNECTION.execute(f"""
        WITH begun AS (
            SELECT moment, {sql} AS begins
            FROM generate_series(TIMESTAMP '2004-01-01', TIMESTAMP '2027-12-31', INTERVAL 15 MINUTES) AS t (moment)
        )
        SELECT moment, begins FROM begun
        WHERE begins > moment OR moment - begins >= INTERVAL 25 HOURS
    """).fetchall()

    assert wrong == []


def test_an_event_of_the_local_day_is_inside_from_its_first_instant():
    """Rule 4: both edges, to the microsecond."""
    as_of = "TIMESTAMP '2026-06-15 12:00:00'"
    inside = macros().in_calendar("happened", as_of, "day", "Europe/London", "30m")
    ats = [
        ("2026-06-14 22:59:59.999999", False),
        ("2026-06-14 23:00:00", True),
        ("2026-06-15 11:29:59.999999", True),
        ("2026-06-15 11:30:00", False),
    ]
    for at, held in ats:
        assert CONNECTION.execute(
            f"SELECT {inside} FROM (VALUES (CAST(? AS TIMESTAMP))) AS given (happened)", [at]
        ).fetchall() == [(held,)]


def test_the_delay_decides_which_day_it_is():
    assert start("2026-01-15 00:30", "day", "UTC", "1h") == datetime.fromisoformat("2026-01-14")


@pytest.mark.parametrize(
    ("feature", "told"),
    [
        ({"calendar": "day"}, "a calendar needs its zone"),
        (
            {"calendar": "day", "zone": "UTC", "window": "7d"},
            "a window or a calendar, one of the two",
        ),
        ({}, "a window or a calendar, one of the two"),
        ({"calendar": "year", "zone": "UTC"}, "a calendar is one of day, week, month, got: year"),
    ],
)
def test_a_calendar_that_is_none_is_refused(feature, told):
    with pytest.raises(CompilerError, match=told):
        macros()._window_filter({"name": "x", **feature}, {}, "at", "t")


def test_a_zone_that_does_not_exist_is_refused_by_the_engine_too():
    with pytest.raises(duckdb.Error, match="Mars/Base"):
        start("2026-01-15", "day", "Mars/Base")
