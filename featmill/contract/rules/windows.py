"""Rules of a windowed feature: an aggregate, over something, over a time (rules 4 to 6)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from featmill.contract.declarations import AGGREGATES, parse_duration
from featmill.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from featmill.contract.declared import DeclaredColumn, DeclaredTable
    from featmill.contract.problems import Mistake

#: Keys that only shape an aggregate.
_OF_AGGREGATES = (
    "value",
    "of",
    "n",
    "window",
    "calendar",
    "zone",
    "where",
    "scale",
    "hop",
    "delay",
)
#: The one aggregate that a key is for, and what it says there.
_OF_ONE = {
    "of": ("ratio", "of: a column or SQL expression over the events, what value is divided by"),
    "n": ("last_n", "n: how many values, 1 to 1000"),
}
_NEED_NO_VALUE = ("count", "time_since_last")
_A_WINDOW = "window: a duration such as 30d, or lifetime; or calendar: day, week or month"
_SUFFIX = re.compile(r"_([0-9]+[smhd]|lifetime)$")
_DECLARED = ("config", "meta", "feature")


def aggregates_something(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """An aggregate has what it works on: a value, unless it counts; what a ratio divides by; how many."""
    declared = column.declaration
    if declared.aggregate is None:
        return
    at = (*_DECLARED, "aggregate")
    needs_value = declared.aggregate not in _NEED_NO_VALUE and declared.value is None
    if needs_value and not _is_wrong(column, "value"):
        expected = "value: a column or SQL expression over the events"
        yield table.column_mistake(column, f"{declared.aggregate} without value", expected, *at)
    for key, (aggregate, expected) in _OF_ONE.items():
        given = getattr(declared, key) is not None
        if declared.aggregate == aggregate and not given and not _is_wrong(column, key):
            yield table.column_mistake(column, f"{aggregate} without {key}", expected, *at)
        if declared.aggregate != aggregate and given:
            message = f"{key} of a {declared.aggregate} has no effect"
            there = f"aggregate: {aggregate}, or no {key}"
            yield table.column_mistake(column, message, there, *_DECLARED, key)


def is_of_its_aggregates_type(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """The last n values are a list, and only they are."""
    aggregate = column.declaration.aggregate
    if aggregate != "last_n" or column.type is None or column.type.is_list:
        return
    yield table.column_mistake(
        column,
        f"last_n as {column.node.data_type}",
        f"data_type: {column.node.data_type}[]",
        "data_type",
    )


def aggregates_over_a_window(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """An aggregate has a window or a calendar, not both; a calendar has a zone and no hop."""
    declared = column.declaration
    if declared.aggregate is None:
        return
    at = (*_DECLARED, "aggregate")
    has_neither = declared.window is None and declared.calendar is None
    if has_neither and not _is_wrong(column, "window") and not _is_wrong(column, "calendar"):
        yield table.column_mistake(column, f"{declared.aggregate} without window", _A_WINDOW, *at)
    if declared.calendar is None:
        if declared.zone is not None and not _is_wrong(column, "calendar"):
            message, expected = (
                "zone without calendar has no effect",
                "calendar: day, week or month",
            )
            yield table.column_mistake(column, message, expected, *_DECLARED, "zone")
        return
    at = (*_DECLARED, "calendar")
    if declared.window is not None:
        yield table.column_mistake(
            column, "window and calendar", f"one of the two: {_A_WINDOW}", *at
        )
    if declared.zone is None and not _is_wrong(column, "zone"):
        expected = "zone: a time zone by area and place, such as Europe/London, or UTC"
        yield table.column_mistake(column, "calendar without zone", expected, *at)
    if declared.hop is not None:
        message = "hop of a calendar window has no effect"
        yield table.column_mistake(column, message, "no hop", *_DECLARED, "hop")


def shapes_an_aggregate(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """What shapes an aggregate does nothing where there is none."""
    if column.declaration.aggregate is not None or _is_wrong(column, "aggregate"):
        return
    for key in _OF_AGGREGATES:
        if getattr(column.declaration, key) is not None:
            yield table.column_mistake(
                column,
                f"{key} without aggregate has no effect",
                f"aggregate: one of {', '.join(AGGREGATES)}",
                *_DECLARED,
                key,
            )


def is_named_for_its_window(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """A name that tells a window tells the declared one."""
    window = column.declaration.window
    suffix = _SUFFIX.search(column.name)
    if window is None or suffix is None or _length(suffix[1]) == window:
        return
    yield table.column_mistake(
        column,
        f"the name says {suffix[1]}, the window is {_spell(window)}",
        f"window: {suffix[1]}, or a name that ends in _{_spell(window)}",
        *_DECLARED,
        "window",
    )


WINDOW_RULES: tuple[Callable[[DeclaredTable, DeclaredColumn], Iterator[Mistake]], ...] = (
    aggregates_something,
    is_of_its_aggregates_type,
    aggregates_over_a_window,
    shapes_an_aggregate,
    is_named_for_its_window,
)


def _length(suffix: str) -> timedelta | str | None:
    if suffix == "lifetime":
        return suffix
    try:
        return parse_duration(suffix)
    except ContractError:
        return None  # longer than time itself, so no window's


def _is_wrong(column: DeclaredColumn, key: str) -> bool:
    """Whether the key is written but could not be read, which is told where it is read."""
    written = column.node.meta.get("feature")
    return isinstance(written, dict) and written.get(key) is not None


def _spell(window: timedelta | str) -> str:
    """A window as it is declared, in the largest unit that holds it exactly."""
    if isinstance(window, str):
        return window
    seconds = int(window.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
