"""What a reader has done since it was opened, in plain numbers: whoever monitors it asks now and then."""

from __future__ import annotations

from threading import Lock

#: What is counted, in order. Each row of a service that remembers is one of the first four; without memory none is.
COUNTED = ("hit", "negative_hit", "miss", "stale", "round_trip")


class ReadCounts:
    """The numbers of one reader; threads may share it.

    Rows are one entity of one set of join keys: `hits` came from memory, `negative_hits` are known from there not to be
    in the store, `misses` were not in memory, `stale` were answered from it because the store did not answer.
    `round_trips` are requests to a node of the store.
    """

    __slots__ = ("_lock", "hits", "misses", "negative_hits", "round_trips", "stale")

    def __init__(self) -> None:
        self._lock = Lock()
        self.hits = self.negative_hits = self.misses = self.stale = self.round_trips = 0

    def rows(
        self, *, hits: int = 0, negative_hits: int = 0, misses: int = 0, stale: int = 0
    ) -> None:
        """Count the rows of one answer."""
        with self._lock:
            self.hits += hits
            self.negative_hits += negative_hits
            self.misses += misses
            self.stale += stale

    def sent(self, nodes: int) -> None:
        """Count what was sent to that many nodes."""
        with self._lock:
            self.round_trips += nodes

    def all(self) -> tuple[int, ...]:
        """The numbers, as `COUNTED` names them."""
        return self.hits, self.negative_hits, self.misses, self.stale, self.round_trips
