"""Row indexes of released tables: built as a build releases, or when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.errors import IndexUnusable, NoRelease
from featmill.warehouse.lake import relation_sql
from featmill.warehouse.row_index import RowIndex, find_index
from featmill.warehouse.row_index_writer import IndexSource, build_index

if TYPE_CHECKING:
    from featmill.warehouse.registry import Registry


@dataclass(frozen=True, slots=True)
class ReleasedIndex:
    """The index of a table's released snapshots, and whether it was built now."""

    folder: Path
    index: RowIndex
    is_new: bool

    @property
    def bytes(self) -> int:
        """How much it takes on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


def index_released(
    registry: Registry, table: str, keys: tuple[str, ...], event_time: str
) -> ReleasedIndex:
    """The index of what is released of a table; built where there is none that can be used.

    Raises:
        NoRelease: nothing of it is released.
        IndexUnusable: it cannot be built.
        LakeError: the released snapshots cannot be read.
    """
    snapshots = registry.released_snapshots(table)
    if not snapshots:
        raise NoRelease(f"{table} has never been released", hint="build it first: dbt build")
    relation = relation_sql(snapshots)
    try:
        held = find_index(snapshots, relation)
    except IndexUnusable:
        folder = build_index(IndexSource(snapshots, relation, keys, event_time))
        return ReleasedIndex(folder, find_index(snapshots, relation), is_new=True)
    return ReleasedIndex(held.folder, held, is_new=False)
