"""`featmill promotions`: the ledger of what was live when, and outages for it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir


class Outage(StrEnum):
    """The begin or the end of an outage."""

    down = "down"
    up = "up"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(promotions)


def promotions(
    record: Annotated[
        Outage | None,
        typer.Option(help="Note that from now on nothing is served, or that it is again."),
    ] = None,
    last: Annotated[int, typer.Option(help="Show at most this many entries.")] = 20,
    project_dir: ProjectDir = None,
) -> None:
    """List which release was live when; [bold]featmill train --as-of served[/] follows it."""
    from featmill.settings import load_settings
    from featmill.warehouse import promotions as ledger
    from featmill.warehouse.registry import open_registry

    lake = open_registry(load_settings(project_dir).lake_dir).lake
    if record is not None:
        ledger.record(lake, record.value)
    entries = ledger.ledger(lake)
    if not entries:
        console.out.print("nothing has ever gone live")
        return
    table = Table("epoch", "since", "kind", "release", "tables", title_justify="left")
    for entry in entries[-last:]:
        since = f"{entry.promoted_at:%Y-%m-%d %H:%M:%S}"
        tables = str(len(entry.snapshots))
        table.add_row(str(entry.epoch), since, entry.kind, entry.release_id, tables)
    console.out.print(table)
