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

    import pyarrow as pa
    from numpy.typing import NDArray

    from featmill.contract.types import FeatureType
    from featmill.serving.key_columns import KeyColumn


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


#: The word of each status, by its number.
WORDS: tuple[str, ...] = tuple(status.word for status in Status)

#: Why an answer may have been given without the store; see `FeatureVectors.degraded`.
REASONS = ("unreachable", "deadline", "breaker_open", "overloaded", "empty", "unreadable")


@dataclass(frozen=True, slots=True)
class ViewAnswer:
    """What was found of one view, for each of the n rows asked for.

    `statuses` are n `Status` numbers: what the lookup found (ok, stale, expired, missing); `default` where the store
    did not answer and memory did not know, so that nobody can say whether there is a row. `event_at` is each row's
    feature_at in microseconds since 1970, UTC, None where none was found. `snapshot` is what serves, None while it is
    being replaced in place and a row may be of either snapshot.
    """

    view: str
    snapshot: str | None
    release: str | None
    statuses: bytes
    event_at: Sequence[int | None]


@dataclass(frozen=True, slots=True)
class FeatureVectors:
    """The answer to one request of n rows.

    `names` are the features in the service's order, `values` and `statuses` are one sequence of n for each of them; a
    status of `default` says the value is a declared default or came from a declared fallback. `view_of` says which of
    `views` a feature is of, None for one that was computed on request; `types` are their contract types, and
    `key_columns` say those of the keys. `degraded` says why the store was not asked or did not answer in time
    (`unreachable`, `deadline`, `breaker_open`, `overloaded`, `empty`: it no longer holds what was promoted,
    `unreadable`: it holds other types), None where it did answer.
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
    types: tuple[FeatureType, ...] = ()
    key_columns: tuple[KeyColumn, ...] = ()

    def ages(self, view: ViewAnswer) -> list[float | None]:
        """How old each row of a view was at `as_of`, in seconds; None where none was found."""
        from featmill.serving.answer_forms import ages

        return ages(self, view)

    def to_dict(self) -> dict[str, Any]:
        """Columns: `keys`, `values`, `statuses` (words) by name and `ages` (seconds) by view, n of each.

        With `service`, `as_of` (ISO 8601), `degraded`, and the serving `snapshots` and `releases` by view.
        """
        from featmill.serving.answer_forms import to_dict

        return to_dict(self)

    def to_rows(self) -> list[dict[str, Any]]:
        """One dict a row: `keys`, `values`, `statuses` (words) by name, and `ages` (seconds) by view."""
        from featmill.serving.answer_forms import to_rows

        return to_rows(self)

    def to_arrow(self) -> pa.Table:
        """n rows: the keys, the features in their contract types, `<feature>__status` and `<view>__event_at`.

        The schema's metadata holds `service`, `as_of`, `degraded` (empty: not), `snapshots` and `releases` (JSON).
        """
        from featmill.serving.answer_forms import to_arrow

        return to_arrow(self)

    def to_numpy(self) -> dict[str, NDArray[Any]]:
        """An array of n for each feature: numbers (float64 with NaN for None), moments (datetime64[us]), else objects.

        Integers and booleans without a None keep their own type. A date is a datetime64[D].
        """
        from featmill.serving.answer_forms import to_numpy

        return to_numpy(self)
