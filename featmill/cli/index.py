"""`featmill index`: build the indexes of released tables: of their rows, and of the events they keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir
from featmill.errors import KernelRefused, UsageError

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog, FeatureTable


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(index)


def index(
    table: Annotated[
        str | None,
        typer.Argument(help="A feature table; without one, all that declare index: true."),
    ] = None,
    project_dir: ProjectDir = None,
) -> None:
    """Build the indexes of what is released: training sets are looked up instead of joined, and events sorted once.

    A build does this as it releases, for tables that declare [bold]index: true[/]. The events of a table are indexed
    where it declares [bold]keep_events: true[/] too: [bold]train --windows spine[/] reads them. An index is never
    required, and one that is not of the released snapshots is never used.
    """
    from featmill.settings import load_settings
    from featmill.training.released_events import index_released_events
    from featmill.warehouse.registry import open_registry
    from featmill.warehouse.released_index import index_released
    from orchestration import tasks

    settings = load_settings(project_dir)
    listed = Table(title="Indexes", title_justify="left")
    for column in ("table", "of", "rows", "keys", "MiB", "built", "folder"):
        right = column in ("rows", "keys", "MiB")
        listed.add_column(column, justify="right" if right else "left", overflow="fold")
    with console.progress() as shown:
        shown.add_task("reading the contract", total=None)
        catalog = tasks.load_catalog(settings)
        registry = open_registry(settings.lake_dir)
        for wanted in _wanted(catalog, table):
            shown.add_task(f"indexing {wanted.name}", total=None)
            made = index_released(registry, wanted.name, wanted.key_names, wanted.event_time)
            header = made.index.header
            counts = [f"{header.rows:,}", f"{header.distinct_keys:,}", f"{made.bytes / 2**20:.1f}"]
            listed.add_row(wanted.name, "rows", *counts, _when(made.is_new), str(made.folder))
            try:
                kept = index_released_events(registry, wanted)
            except KernelRefused as refused:
                listed.add_row(wanted.name, "events", "", "", "", "not", refused.message)
                continue
            if kept is not None:
                counts = [f"{kept.events:,}", f"{kept.entities:,}", f"{kept.bytes / 2**20:.1f}"]
                listed.add_row(wanted.name, "events", *counts, _when(kept.is_new), str(kept.folder))
    console.out.print(listed)


def _when(is_new: bool) -> str:
    return "now" if is_new else "before"


def _wanted(catalog: Catalog, name: str | None) -> list[FeatureTable]:
    if name is not None:
        return [catalog.table(name)]
    found = [table for table in catalog.tables if table.is_latest and table.index]
    if not found:
        raise UsageError(
            "no feature table declares an index",
            hint="declare it: config.meta.feature_table: {index: true, ...}, or name a table",
        )
    return found
