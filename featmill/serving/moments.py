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
        RequestError: it is no aware datetime (rule 1).
    """
    if not isinstance(as_of, datetime) or as_of.tzinfo is None:
        raise RequestError(
            f"as_of: {as_of!r} is no moment with its zone",
            field="as_of",
            hint="such as datetime(2026, 3, 5, 6, 30, tzinfo=UTC)",
        )
    return as_of.astimezone(UTC)
