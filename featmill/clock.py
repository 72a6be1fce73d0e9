"""The one place that reads the wall clock (rule 2).

Nothing that decides a feature's value may call this: values depend on `as_of`, which comes from the data. The clock
stamps metadata (`published_at`, journal entries) and nothing else.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_frozen: list[datetime] = []


def now() -> datetime:
    """The present moment, aware, in UTC, in microseconds."""
    return _frozen[-1] if _frozen else datetime.now(UTC)  # noqa: TID251 - the clock itself


@contextmanager
def frozen(moment: datetime) -> Iterator[None]:
    """Make `now()` answer `moment` inside the block; tests and backtests use it."""
    if moment.tzinfo is None:
        raise ValueError("a frozen clock needs an aware datetime")
    _frozen.append(moment.astimezone(UTC))
    try:
        yield
    finally:
        _frozen.pop()
