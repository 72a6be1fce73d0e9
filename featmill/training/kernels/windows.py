"""Where the windows of a chunk of moments lie among sorted events (rule 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from featmill.training.kernels.ranges import lower_bound
from featmill.training.templates import render

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from featmill.training.kernels.event_arrays import EventArrays

    Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Edges:
    """A window's edges as declared, in microseconds: a `length` of None is a lifetime's or a calendar's.

    `calendar` is the SQL of its first moment at `_featmill_moment`, None where it is no calendar window.
    """

    length: int | None
    hop: int
    delay: int
    calendar: str | None = None


def edges_of(feature: Mapping[str, Any], view: Mapping[str, Any], moment: str) -> Edges:
    """The edges of a feature's window; `moment` is the SQL that a calendar's first moment is asked for."""
    # The macro refuses what is no window, such as a hop that does not divide the day; one rule has one place.
    render("_window_filter", feature, view, "event_at", moment)
    delay = feature.get("delay") or view.get("delay") or "0s"
    if feature.get("calendar"):
        start = render("calendar_start", moment, feature["calendar"], feature["zone"], delay)
        return Edges(None, 1, _microseconds(delay), str(start))
    hop = feature.get("hop") or view.get("hop") or "exact"
    step = 1 if hop == "exact" else _microseconds(hop)
    length = None if feature["window"] == "lifetime" else _microseconds(feature["window"])
    return Edges(length, step, _microseconds(delay))


@dataclass(slots=True)
class Chunk:
    """Moments to evaluate, sorted by segment: each with the begin and end of its segment (both 0 where it has none).

    `calendars` has the first moments of calendar windows by their SQL. `order` are the places
    the moments were given at. `placed` keeps windows as ranges of a subset of the events.
    """

    events: EventArrays
    begin: Numbers
    end: Numbers
    moments: Numbers
    order: NDArray[np.int64]
    calendars: Mapping[str, Numbers]
    placed: dict[str, tuple[Numbers, Numbers]] = field(default_factory=dict)
    _found: dict[Edges, tuple[Numbers, Numbers]] = field(default_factory=dict)
    _ends: dict[int, Numbers] = field(default_factory=dict)

    def ends(self, delay: int) -> Numbers:
        """The position after the last event of a window with this delay."""
        if delay not in self._ends:
            times = self.events.times
            self._ends[delay] = lower_bound(times, self.begin, self.end, self.moments - delay)
        return self._ends[delay]

    def window(self, edges: Edges) -> tuple[Numbers, Numbers]:
        """The first event of each window, and the position after its last one."""
        if edges not in self._found:
            high = self.ends(edges.delay)
            self._found[edges] = (self._low(edges, high), high)
        return self._found[edges]

    def given(self, values: NDArray[Any]) -> NDArray[Any]:
        """What was computed per moment, in the order that the moments were given in."""
        placed = np.empty_like(values)
        placed[self.order] = values
        return placed

    def _low(self, edges: Edges, high: Numbers) -> Numbers:
        if edges.calendar is not None:
            start = self.calendars[edges.calendar][self.order]
        elif edges.length is None:
            return self.begin
        else:
            back = self.moments - (edges.delay + edges.length)
            start = back // edges.hop * edges.hop
        return lower_bound(self.events.times, self.begin, high, start)


def chunk_of(
    events: EventArrays,
    segments: Numbers,
    moments: Numbers,
    calendars: Mapping[str, Numbers],
) -> Chunk:
    """A chunk from moments as they are given; a segment of -1 is a key without events."""
    order = np.argsort(segments, kind="stable")
    sorted_segments = segments[order]
    known = sorted_segments >= 0
    place = np.where(known, sorted_segments, 0)
    offsets = events.offsets if len(events.offsets) > 1 else np.zeros(2, np.int64)
    begin = np.where(known, offsets[place], 0)
    end = np.where(known, offsets[place + 1], 0)
    return Chunk(events, begin, end, moments[order], order, calendars)


def _microseconds(duration: object) -> int:
    return cast("int", render("_microseconds", duration))
