"""What the declared selections put online of a release, and what reads they would miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.errors import UsageError
from featmill.warehouse.registry import open_registry
from orchestration.tasks import load_catalog

if TYPE_CHECKING:
    from exporters.selection import SelectionReport
    from featmill.settings import Settings


def selections(
    settings: Settings,
    table: str | None = None,
    *,
    release_id: str | None = None,
    requests: str | None = None,
) -> list[SelectionReport]:
    """A report for each online table that has a selection, or for the one that is named.

    Args:
        settings: where things are.
        table: the feature table; None means every online table with a selection.
        release_id: the release; None means the newest.
        requests: a Parquet or CSV file with the keys that are read, one line a read.

    Raises:
        UsageError: there is no such table, it is not online, or `requests` cannot be read.
        NoRelease: there is no such release.
    """
    from exporters.rows import visible_rows

    catalog, registry = load_catalog(settings), open_registry(settings.lake_dir)
    release = registry.find(release_id)
    wanted = [t for t in catalog.tables if t.online and t.is_latest and t.selection is not None]
    if table is not None:
        named = catalog.table(table)
        if not named.online:
            raise UsageError(f"{table} is not online", hint="declare online: true")
        wanted = [named]
    found = []
    for one in wanted:
        if one.name not in release.snapshots:
            continue
        snapshot = registry.lake.snapshot(one.name, release.snapshots[one.name])
        with visible_rows(one, snapshot, registry.released_snapshots(one.name)) as visible:
            found.append(visible.selection(requests))
    return found
