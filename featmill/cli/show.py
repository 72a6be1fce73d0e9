"""`featmill show`: rows of a published snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir
from featmill.errors import UsageError

if TYPE_CHECKING:
    pass

_FORMATS = "2026-01-31 or 2026-01-31T06:00:00Z"


def show(
    table: Annotated[str, typer.Argument(help="The published table.")],
    key: Annotated[
        list[str] | None,
        typer.Option(help="Only rows with this value, as column=value; repeat it."),
    ] = None,
    snapshot: Annotated[
        str | None, typer.Option(help="A snapshot's id; else the newest released one.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help=f"What was released at this moment, UTC: {_FORMATS}.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many rows.")] = 20,
    project_dir: ProjectDir = None,
) -> None:
    """Print rows of a published table, of one snapshot, in a fixed order."""
    from featmill.settings import load_settings
    from featmill.warehouse.registry import open_registry
    from featmill.warehouse.snapshot_rows import choose_snapshot, read_rows

    registry = open_registry(load_settings(project_dir).lake_dir)
    published = registry.lake.tables()
    if table not in published:
        raise UsageError(
            f"no feature table {table!r} is published",
            hint=f"published: {', '.join(published) or 'nothing yet'}",
        )
    chosen = choose_snapshot(
        registry, table, snapshot_id=snapshot, at=None if at is None else console.moment(at)
    )
    found = read_rows(chosen, console.key_values(key or []), limit)
    listed = Table(title=f"{table}, snapshot {chosen.snapshot_id}", title_justify="left")
    for column in found.columns[:-1]:
        listed.add_column(column, overflow="fold")
    for row in found.rows:
        # The last column is the snapshot's id, which stands above.
        listed.add_row(*("NULL" if value is None else str(value) for value in row[:-1]))
    console.out.print(listed)
    console.out.print(f"{len(found.rows):,} of {found.matching:,} rows")
    lost = registry.lake.erased(table).get(chosen.snapshot_id)
    if lost is not None:
        console.out.print(f"erased: {lost:,} rows were erased from this snapshot or blanked in it")
