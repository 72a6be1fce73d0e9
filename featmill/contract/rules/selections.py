"""Rules of a table's selection: which of its entities go online."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.contract.row_expressions import row_mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from featmill.contract.declared import DeclaredTable
    from featmill.contract.nodes import Manifest
    from featmill.contract.problems import Mistake

_SELECTION = ("config", "meta", "feature_table", "selection")


def selects_of_what_is_online(table: DeclaredTable, _: Manifest) -> Iterator[Mistake]:
    """A selection limits what goes online; of a table that does not, there is nothing to limit."""
    if table.selection is not None and not table.declaration.online:
        yield table.mistake(
            "a selection without online: true", "online: true, or no selection", *_SELECTION
        )


def selects_something(table: DeclaredTable, _: Manifest) -> Iterator[Mistake]:
    """A budget without an order would keep whichever entities come first."""
    chosen = table.selection
    if chosen is None:
        return
    if chosen.where is None and chosen.top is None:
        yield table.mistake("an empty selection", "where, or top and by", *_SELECTION)
    elif (chosen.top is None) != (chosen.by is None):
        has, lacks = ("by", "top") if chosen.top is None else ("top", "by")
        yield table.mistake(f"selection has {has} and no {lacks}", "top and by", *_SELECTION, has)


def selects_by_its_own_rows(table: DeclaredTable, _: Manifest) -> Iterator[Mistake]:
    """What decides is in the row, so that a rebuilt snapshot has the same entities online."""
    names = [column.name for column in table.columns]
    for part in ("where", "by"):
        sql = getattr(table.selection, part, None)
        found = None if sql is None else row_mistake(sql, names)
        if found is not None:
            yield table.mistake(f"{part}: {found[0]}", found[1], *_SELECTION, part)


SELECTION_RULES: tuple[Callable[[DeclaredTable, Manifest], Iterator[Mistake]], ...] = (
    selects_of_what_is_online,
    selects_something,
    selects_by_its_own_rows,
)
