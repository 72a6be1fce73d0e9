"""`featmill iceberg`: bring the Iceberg mirror up to the releases, and show what it holds."""

from __future__ import annotations

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir
from featmill.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(iceberg)


def iceberg(project_dir: ProjectDir = None) -> None:
    r"""Mirror what is released to Iceberg, for tables that declare [bold]formats: \\[delta, iceberg][/].

    A build does this as it releases. Run it where a table declares the format after it was first published, or after a
    mirror could not be written.
    """
    from featmill.settings import load_settings
    from featmill.warehouse.iceberg import IcebergMirror, mirror_released
    from featmill.warehouse.registry import open_registry
    from orchestration import tasks

    settings = load_settings(project_dir)
    with console.progress() as shown:
        shown.add_task("reading the contract", total=None)
        catalog = tasks.load_catalog(settings)
        names = [
            table.name
            for table in catalog.tables
            if table.is_latest and table.publish_node and "iceberg" in table.formats
        ]
        if not names:
            raise UsageError(
                "no feature table is mirrored to Iceberg",
                hint="declare it: config.meta.feature_table: {formats: [delta, iceberg], ...}",
            )
        shown.add_task("mirroring", total=None)
        added = mirror_released(open_registry(settings.lake_dir), names)
    mirror = IcebergMirror(settings.lake_dir)
    listed = Table(title="Iceberg", title_justify="left")
    for column in ("table", "snapshots", "added now", "metadata"):
        listed.add_column(column, overflow="fold")
    for identifier in mirror.identifiers():
        held = mirror.snapshots(identifier)
        new = set(held) & {one for ids in added.values() for one in ids}
        where = mirror.table(identifier).metadata_location
        listed.add_row(identifier, str(len(held)), str(len(new)), where)
    console.out.print(listed)
