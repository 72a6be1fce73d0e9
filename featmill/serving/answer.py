"""What a reader answers: values, the status of each, when each row is from, and which snapshot serves.

Columns, not rows: a feature's values lie side by side, as they came, and become NumPy, Arrow or dicts when asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


class Status(IntEnum):
    """Rule 18. The words are the names in lower case; the numbers are what an array of statuses holds."""

    OK = 0
    DEFAULT = 1
    STALE = 2
    EXPIRED = 3
    MISSING = 4

    @property
    def word(self) -> str:
        """As the rule and every answer spells it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class ViewAnswer:
    """What was found of one view, for each of the n rows asked for.

    `statuses` are n `Status` numbers: what the lookup found (ok, stale, expired, missing), never `default`. `event_at`
    is each row's feature_at in microseconds since 1970, UTC, None where none was found. `snapshot` is what serves, None
    while it is being replaced in place and a row may be of either snapshot.
    """

    view: str
    snapshot: str | None
    release: str | None
    statuses: bytes
    event_at: Sequence[int | None]


@dataclass(frozen=True, slots=True)
class FeatureVectors:
    """The answer to one request of n rows.

    `names` are the features in the service's order, `values` and `statuses` are one sequence of n for each of them;
    a status of `default` says the value is a declared default or came from a declared fallback. `view_of` says which of
    `views` a feature is of, None for one that was computed on request. `degraded` says why the store was not asked or
    did not answer in time, None where it did.
    """

    service: str
    keys: Mapping[str, Sequence[Any]]
    rows: int
    names: tuple[str, ...]
    values: tuple[Sequence[Any], ...]
    statuses: tuple[bytes, ...]
    view_of: tuple[int | None, ...]
    views: tuple[ViewAnswer, ...]
    as_of: datetime
    degraded: str | None = None
