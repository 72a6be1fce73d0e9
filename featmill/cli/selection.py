"""`featmill selection`: how much of the tables goes online, and how many reads find it there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir

if TYPE_CHECKING:
    from exporters.selection import SelectionReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(selection)


def selection(
    table: Annotated[
        str | None,
        typer.Argument(help="A feature table; default every online one with a selection."),
    ] = None,
    requests: Annotated[
        str | None,
        typer.Option(help="A Parquet or CSV file of reads: one line each, with the join keys."),
    ] = None,
    release: Annotated[str | None, typer.Option(help="The release; default the newest.")] = None,
    project_dir: ProjectDir = None,
) -> None:
    """Show what the declared selections put online, and with --requests how many reads find their entity there."""
    from featmill.settings import load_settings
    from orchestration.selection import selections

    settings = load_settings(project_dir)
    found = selections(settings, table, release_id=release, requests=requests)
    if not found:
        console.out.print("no online table of this release declares a selection")
        return
    console.out.print(_table(found, with_requests=requests is not None))


def _table(found: list[SelectionReport], *, with_requests: bool) -> Table:
    table = Table(title="Selected to go online", title_justify="left")
    table.add_column("view")
    columns = ["entities", "selected", "share"]
    if with_requests:
        columns += [
            "reads",
            "of known entities",
            "hit rate",
            "different entities",
            "of them online",
        ]
    for column in columns:
        table.add_column(column, justify="right")
    for report in found:
        cells = [f"{report.visible:,}", f"{report.selected:,}", f"{report.share:.1%}"]
        if with_requests:
            rate = report.hit_rate
            cells += [
                f"{report.requests or 0:,}",
                f"{report.known or 0:,}",
                "none known" if rate is None else f"{rate:.2%}",
                f"{report.asked or 0:,}",
                f"{report.asked_hits or 0:,}",
            ]
        table.add_row(report.view, *cells)
    return table
