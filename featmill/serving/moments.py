"""Moments as microseconds since 1970, exactly: a float of seconds would lose the last ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros_of(moment: datetime) -> int:
    """An aware moment in microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def span(length: timedelta) -> int:
    """A duration in microseconds."""
    return length // _MICROSECOND
