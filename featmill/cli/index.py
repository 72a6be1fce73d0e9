"""`featmill index`: build the row indexes of released tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir
from featmill.errors import UsageError

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
    """Build the row index of what is released, so that training sets are looked up instead of joined.

    A build does this as it releases, for tables that declare [bold]index: true[/]. An index is never required, and one
    that is not of the released snapshots is never used.
    """
    from featmill.settings import load_settings
    from featmill.warehouse.registry import open_registry
    from featmill.warehouse.released_index import index_released
    from orchestration import tasks

    settings = load_settings(project_dir)
    listed = Table(title="Row indexes", title_justify="left")
    for column in ("table", "rows", "keys", "MiB", "built", "folder"):
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
            did = "now" if made.is_new else "before"
            listed.add_row(wanted.name, *counts, did, str(made.folder))
    console.out.print(listed)


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
