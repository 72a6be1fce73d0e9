"""Event indexes of released tables: built after a build, or when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.training.windows_at import find_event_index, index_events
from featmill.warehouse.event_log import event_log_of

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog, FeatureTable
    from featmill.warehouse.registry import Registry


@dataclass(frozen=True, slots=True)
class ReleasedEvents:
    """The index of the events that a table's newest released snapshot stands on, and whether it was built now."""

    folder: Path
    events: int
    entities: int
    is_new: bool

    @property
    def bytes(self) -> int:
        """How much it takes on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


def index_released_events(registry: Registry, table: FeatureTable) -> ReleasedEvents | None:
    """The index of a table's kept events; built where there is none that can be used.

    Returns:
        None where nothing of the table is released, it keeps no events, or it has no windows over them.

    Raises:
        KernelRefused: the kernel cannot hold the values; then windows are evaluated by SQL, and nothing is indexed.
        LakeError: the event log cannot be read.
    """
    import duckdb

    snapshots = registry.released_snapshots(table.name)
    log = event_log_of(snapshots[-1]) if snapshots else None
    windows = [feature for feature in table.features if feature.window is not None]
    if log is None or not windows:
        return None
    asked = (table.name, table.key_names, log, windows)
    found = find_event_index(*asked)
    if is_new := found is None:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            index_events(connection, *asked)
        found = find_event_index(*asked)
    if found is None:
        return None  # another build replaced it in this moment
    folder, events = found
    return ReleasedEvents(folder, len(events.times), events.keys.num_rows, is_new)


def index_all_released_events(catalog: Catalog, registry: Registry) -> list[ReleasedEvents]:
    """The same for every table that declares `index: true`. What cannot be indexed is left to SQL.

    Raises:
        LakeError: an event log cannot be read.
    """
    from featmill.errors import KernelRefused

    found = []
    for table in catalog.tables:
        if not (table.is_latest and table.index):
            continue
        try:
            made = index_released_events(registry, table)
        except KernelRefused:
            continue
        if made is not None:
            found.append(made)
    return found
