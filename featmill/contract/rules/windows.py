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
_OF_AGGREGATES = ("value", "window", "where", "scale", "hop", "delay")
_SUFFIX = re.compile(r"_([0-9]+[smhd]|lifetime)$")
_DECLARED = ("config", "meta", "feature")


def aggregates_over_a_window(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """An aggregate has a window, and a value unless it counts events."""
    declared = column.declaration
    if declared.aggregate is None:
        return
    at = (*_DECLARED, "aggregate")
    if declared.window is None and not _is_wrong(column, "window"):
        expected = "window: a duration such as 30d, or lifetime"
        yield table.column_mistake(column, f"{declared.aggregate} without window", expected, *at)
    needs_value = declared.aggregate != "count" and declared.value is None
    if needs_value and not _is_wrong(column, "value"):
        expected = "value: a column or SQL expression over the events"
        yield table.column_mistake(column, f"{declared.aggregate} without value", expected, *at)


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
