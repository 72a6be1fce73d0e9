"""The declared aggregates over ranges of sorted events, as partial states that SQL finalises (rules 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from featmill.errors import KernelRefused
from featmill.training.kernels import ranges
from featmill.training.kernels.encoding import Column, decode, scale_of
from featmill.training.kernels.event_arrays import value_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from featmill.training.kernels.event_arrays import EventArrays
    from featmill.training.kernels.windows import Chunk, Edges

    Numbers = NDArray[np.int64]

#: A sum of this magnitude or more might not fit 64 bits.
_TOO_LARGE = float(1 << 62)
#: So many distinct values are bits of one integer.
_BITS = 62


@dataclass(frozen=True, slots=True)
class Part:
    """One state of a feature, a value per moment in the given order, and the DuckDB type it has to have."""

    values: pa.Array
    sql_type: str


@dataclass(frozen=True, slots=True)
class Task:
    """A feature over the ranges of a chunk. `types` are DuckDB's of the plan's states, by name."""

    feature: Mapping[str, Any]
    chunk: Chunk
    edges: Edges
    types: Mapping[str, str]

    @property
    def low(self) -> Numbers:
        """Where the windows begin."""
        return self.chunk.window(self.edges)[0]

    @property
    def high(self) -> Numbers:
        """Where the windows end."""
        return self.chunk.window(self.edges)[1]

    def selected(self, key: str = "value") -> Selected:
        """The events that pass the feature's `where` and have a value, and the ranges among them."""
        subset = Subset(self.chunk.events, self.feature.get("where"), value_of(self.feature, key))
        name = f"{subset.name}|{self.edges}"
        if name not in self.chunk.placed:
            self.chunk.placed[name] = (subset.place(self.low), subset.place(self.high))
        return Selected(subset, *self.chunk.placed[name])

    def part(
        self, codes: Numbers, valid: NDArray[np.bool_], sql_type: str, words: pa.Array | None = None
    ) -> Part:
        """A state from integers in the chunk's order."""
        given = self.chunk.given
        return Part(decode(given(codes), given(valid), sql_type, words), sql_type)


@dataclass(frozen=True, slots=True)
class Subset:
    """The events that pass a condition and have a value; without either, all of them."""

    events: EventArrays
    where: str | None
    value: str | None

    @property
    def name(self) -> str:
        """What derived arrays of this subset are called."""
        return f"{self.where or ''}|{self.value or ''}"

    @property
    def column(self) -> Column:
        """The value's column, of all events."""
        return self.events.values[str(self.value)]

    @property
    def is_whole(self) -> bool:
        """Whether every event is in the subset."""
        return self.where is None and (self.value is None or self.column.nulls is None)

    def mask(self) -> NDArray[np.bool_]:
        """Which events are in the subset."""
        passes = np.ones(len(self.events.times), np.bool_)
        if self.where is not None:
            passes &= self.events.conditions[self.where]
        if self.value is not None and self.column.nulls is not None:
            passes &= ~self.column.nulls
        return passes

    def place(self, positions: Numbers) -> Numbers:
        """Positions among all events as positions in the subset."""
        if self.is_whole:
            return positions
        counted = self.events.once(f"before|{self.name}", lambda: ranges.before(self.mask()))
        placed: Numbers = counted[positions]
        return placed

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """The subset's share of an array over all events."""
        return values if self.is_whole else values[self.mask()]

    def offsets(self) -> Numbers:
        """Where each key's events begin in the subset."""
        return self.place(self.events.offsets)

    def codes(self) -> Numbers:
        """The values, and one element more that no range holds."""
        name = f"codes|{self.name}"
        return self.events.once(name, lambda: _padded(self.of(self.column.codes)))

    def times(self) -> Numbers:
        """The events' times."""
        return self.events.once(f"times|{self.name}", lambda: self.of(self.events.times))


@dataclass(frozen=True, slots=True)
class Selected:
    """Ranges `[low, high)` of a subset's events."""

    subset: Subset
    low: Numbers
    high: Numbers

    @property
    def some(self) -> NDArray[np.bool_]:
        """Which ranges are not empty."""
        return self.high > self.low

    def total(self, name: str, values: Callable[[], Numbers]) -> Numbers:
        """The sum of some integers over each range; they are the same ones for the same name."""
        events = self.subset.events

        def make() -> Numbers:
            numbers = values()
            bound = ranges.largest_segment_sum(numbers, self.subset.offsets())
            if bound >= _TOO_LARGE:
                raise KernelRefused(f"{self.subset.value}: a sum of it may exceed 64 bits")
            return ranges.prefix_sums(numbers)

        sums: Numbers = events.once(f"{name}|{self.subset.name}", make)
        return sums[self.high] - sums[self.low]


def count(task: Task) -> dict[str, Part]:
    """How many events, or values."""
    selected = task.selected()
    return {"n": task.part(selected.high - selected.low, np.ones_like(selected.some), "BIGINT")}


def total(task: Task) -> dict[str, Part]:
    """The sum of the values."""
    return {"total": _sum(task, task.selected(), "total", 1)}


def mean(task: Task) -> dict[str, Part]:
    """The sum of the values, and how many there are."""
    return total(task) | count(task)


def std(task: Task) -> dict[str, Part]:
    """The sums of the values and of their squares, and how many there are."""
    return mean(task) | {"squares": _sum(task, task.selected(), "squares", 2)}


def ratio(task: Task) -> dict[str, Part]:
    """The sums of both expressions."""
    return total(task) | {"base": _sum(task, task.selected("of"), "base", 1)}


def least(task: Task) -> dict[str, Part]:
    """The smallest value."""
    return {"held": _extreme(task, np.minimum)}


def greatest(task: Task) -> dict[str, Part]:
    """The largest value."""
    return {"held": _extreme(task, np.maximum)}


def first(task: Task) -> dict[str, Part]:
    """The first value in the total order of rule 8."""
    selected = task.selected()
    return {"value": _value(task, selected, selected.low)}


def last(task: Task) -> dict[str, Part]:
    """The last value in the total order of rule 8."""
    selected = task.selected()
    return {"value": _value(task, selected, selected.high - 1)}


def last_n(task: Task) -> dict[str, Part]:
    """The newest values, newest first; NULL where there is none."""
    import pyarrow as pa

    selected = task.selected()
    column = selected.subset.column
    low, high = task.chunk.given(selected.low), task.chunk.given(selected.high)
    positions, lengths = ranges.newest(low, high, int(task.feature["n"]))
    codes = selected.subset.codes()[positions]
    values = decode(codes, np.ones(len(codes), np.bool_), column.sql_type, column.words)
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    empty = None if (lengths > 0).all() else pa.array(lengths == 0)
    lists = pa.ListArray.from_arrays(pa.array(offsets), values, mask=empty)
    return {"value": Part(lists, f"{column.sql_type}[]")}


def time_since_last(task: Task) -> dict[str, Part]:
    """The time of the newest event."""
    selected = task.selected()
    some = selected.some
    times = selected.subset.times()
    newest = np.zeros(len(some), np.int64)
    newest[some] = times[selected.high[some] - 1]
    return {"held": task.part(newest, some, "TIMESTAMP")}


def count_distinct(task: Task) -> dict[str, Part]:
    """How many distinct values: as bits of one integer where they are few, else by previous occurrences."""
    selected = task.selected()
    subset, low, high, some = selected.subset, selected.low, selected.high, selected.some
    codes = _comparable(subset)
    found = np.zeros(len(some), np.int64)
    spread = subset.events.once(f"spread|{subset.name}", lambda: np.array([ranges.spread(codes)]))
    if int(spread[0]) <= _BITS:
        name = f"bits|{subset.name}"
        bits = subset.events.once(name, lambda: _padded(ranges.as_bits(codes)))
        choose = np.bitwise_or
        tables = subset.events.tables(name, lambda: ranges.block_tables(bits[:-1], choose))
        held = ranges.extremes(bits, tables, low[some], high[some], choose)
        found[some] = np.bitwise_count(held)
    else:
        earlier = subset.events.once(
            f"earlier|{subset.name}",
            lambda: ranges.previous(codes, subset.of(subset.events.segments())),
        )
        found = ranges.distinct(earlier, low, high)
    return {"value": task.part(found, np.ones_like(some), "BIGINT")}


def top(task: Task) -> dict[str, Part]:
    """The most frequent value, of ties the smallest."""
    selected = task.selected()
    subset, column, some = selected.subset, selected.subset.column, selected.some
    known = subset.events.once(f"known|{subset.name}", lambda: np.unique(subset.codes()[:-1]))
    ranked = subset.events.once(
        f"ranked|{subset.name}", lambda: np.searchsorted(known, subset.codes()[:-1])
    )
    codes = np.zeros(len(some), np.int64)
    if some.any():
        found = ranges.most_frequent(ranked, selected.low[some], selected.high[some])
        codes[some] = known[found]
    return {"value": task.part(codes, some, column.sql_type, column.words)}


#: Each aggregate's states as the plan names them; `value` where the kernel gives the value itself.
AGGREGATES: Mapping[str, Callable[[Task], dict[str, Part]]] = {
    "count": count,
    "count_distinct": count_distinct,
    "sum": total,
    "mean": mean,
    "min": least,
    "max": greatest,
    "std": std,
    "first": first,
    "last": last,
    "last_n": last_n,
    "ratio": ratio,
    "time_since_last": time_since_last,
    "top": top,
}


def _padded(codes: NDArray[Any]) -> NDArray[Any]:
    padded = np.empty(len(codes) + 1, codes.dtype)
    padded[:-1], padded[-1] = codes, 0
    return padded


def _sum(task: Task, selected: Selected, state: str, power: int) -> Part:
    column = selected.subset.column
    sql_type = task.types[state]
    whole = task.feature.get("scale") is not None and sql_type == "HUGEINT"
    if column.sql_type in ("DOUBLE", "FLOAT", "VARCHAR") or not (
        whole or scale_of(sql_type) == power * scale_of(column.sql_type)
    ):
        raise KernelRefused(f"{selected.subset.value}: a sum of {column.sql_type} is not exact")
    if power == 2:
        sums = selected.total("squares", lambda: _squares(selected.subset))
    else:
        sums = selected.total("total", lambda: selected.subset.codes()[:-1])
    return task.part(sums, selected.some, sql_type)


def _squares(subset: Subset) -> Numbers:
    codes = subset.codes()[:-1]
    if int(codes.max(initial=0)) >= 1 << 31 or int(codes.min(initial=0)) <= -(1 << 31):
        raise KernelRefused(f"{subset.value}: a square of it may exceed 64 bits")
    return codes * codes


def _extreme(task: Task, choose: np.ufunc) -> Part:
    selected = task.selected()
    subset, column, some = selected.subset, selected.subset.column, selected.some
    codes = np.zeros(len(some), np.int64)
    name = f"{choose.__name__}|{subset.name}"
    events = subset.events
    tables = events.tables(name, lambda: ranges.block_tables(subset.codes()[:-1], choose))
    codes[some] = ranges.extremes(
        subset.codes(), tables, selected.low[some], selected.high[some], choose
    )
    return task.part(codes, some, column.sql_type, column.words)


def _value(task: Task, selected: Selected, positions: Numbers) -> Part:
    column, some = selected.subset.column, selected.some
    codes = np.where(some, selected.subset.codes()[np.where(some, positions, 0)], 0)
    return task.part(codes, some, column.sql_type, column.words)


def _comparable(subset: Subset) -> Numbers:
    """Codes that are equal where DuckDB has the values equal."""
    codes: Numbers = subset.codes()[:-1]
    if subset.column.sql_type not in ("DOUBLE", "FLOAT"):
        return codes
    # The two zeros are one value: -0.0 has the code before that of 0.0.
    name = f"comparable|{subset.name}"
    comparable: Numbers = subset.events.once(name, lambda: np.where(codes == -1, 0, codes))
    return comparable
