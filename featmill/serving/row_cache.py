"""Rows in memory: what was read a short while ago, for answers without the store and for when it is gone.

A row is kept as the store gave it, so it is judged at each answer's own as_of: a ttl that ends meanwhile ends it (rule
12). All rows are of one version of what serves; when that moves, none is kept (rule 21).
"""

from __future__ import annotations

import random
import time
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from cachetools import LRUCache

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import timedelta

    from featmill.contract.catalog import ServingPolicy
    from featmill.online.serving_state import Serving
    from featmill.serving.assemble import Row


class _Kept(NamedTuple):
    """A row, until when it is answered as it was and until when as stale, and whether the entity is there at all."""

    row: Row
    fresh_until: float
    stale_until: float
    is_there: bool


class Remembered(NamedTuple):
    """The rows of some entities, None for those not known; `absent` of the rows say that there is no such entity."""

    rows: list[Row | None]
    absent: int


class RowCache:
    """At most `policy.entities` rows of one service, the least recently used given up first."""

    def __init__(
        self, policy: ServingPolicy, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fresh = _seconds(policy.cache_ttl)
        self._negative = _seconds(policy.negative_ttl)
        self._stale = _seconds(policy.stale_for)
        self._jitter = policy.jitter
        self._clock = clock
        self._lock = Lock()
        self._rows: LRUCache[tuple[int, bytes], _Kept] = LRUCache(max(1, policy.entities))
        self.serving: Serving | None = None

    @staticmethod
    def is_wanted(policy: ServingPolicy) -> bool:
        """Whether the policy keeps anything."""
        return any((policy.cache_ttl, policy.negative_ttl, policy.stale_for))

    def __len__(self) -> int:
        return len(self._rows)

    def fresh(self, version: bytes, group: int, stems: Sequence[bytes]) -> Remembered:
        """The row of each entity that was read recently enough to be answered as it was."""
        now = self._clock()
        with self._lock:
            if self.serving is None or version != self.serving.version:
                return Remembered([None] * len(stems), 0)
            found = [self._rows.get((group, stem)) for stem in stems]
        kept = [one if one is not None and now < one.fresh_until else None for one in found]
        absent = sum(one is not None and not one.is_there for one in kept)
        return Remembered([None if one is None else one.row for one in kept], absent)

    def stale(self, group: int, stems: Sequence[bytes]) -> list[Row | None]:
        """The row of each entity that was there not too long ago."""
        now = self._clock()
        with self._lock:
            found = [self._rows.get((group, stem)) for stem in stems]
        return [None if one is None or now >= one.stale_until else one.row for one in found]

    def keep(
        self,
        serving: Serving,
        group: int,
        stems: Sequence[bytes],
        rows: Sequence[tuple[Row, bool]],
        *,
        partly: Collection[bytes] = (),
    ) -> None:
        """Keep rows just read, each with whether the entity is there at all; `partly`: some view has no row of it."""
        now = self._clock()
        with self._lock:
            if self.serving is None or serving.version != self.serving.version:
                self._rows.clear()
            self.serving = serving
            for stem, (row, is_there) in zip(stems, rows, strict=True):
                is_whole = is_there and stem not in partly
                fresh = self._varied(self._fresh if is_whole else self._negative)
                # That an entity was not there is no value to fall back on.
                stale = self._stale if is_there else 0.0
                self._rows[group, stem] = _Kept(row, now + fresh, now + stale, is_there)

    def _varied(self, seconds: float) -> float:
        """Rows read together must not expire together, or their readers come all at once."""
        if not seconds or not self._jitter:
            return seconds
        return seconds * (1 - self._jitter * random.random())  # noqa: S311 - no secret


def _seconds(length: timedelta | None) -> float:
    return 0.0 if length is None else length.total_seconds()
