"""Moments as microseconds since 1970, exactly: a float of seconds would lose the last ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from featmill.errors import RequestError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros_of(moment: datetime) -> int:
    """An aware moment in microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def span(length: timedelta) -> int:
    """A duration in microseconds."""
    return length // _MICROSECOND


def checked_moment(as_of: object) -> datetime:
    """The moment in UTC.

    Raises:
        RequestError: it is no aware datetime (rule 1), or outside of the calendar in UTC.
    """
    if not isinstance(as_of, datetime) or as_of.tzinfo is None:
        raise _refused(as_of, "is no moment with its zone")
    try:
        return as_of.astimezone(UTC)
    except OverflowError:
        raise _refused(as_of, "is no moment of the years 1 to 9999 in UTC") from None


def _refused(as_of: object, why: str) -> RequestError:
    return RequestError(
        f"as_of: {as_of!r} {why}",
        field="as_of",
        hint="such as datetime(2026, 3, 5, 6, 30, tzinfo=UTC)",
    )
