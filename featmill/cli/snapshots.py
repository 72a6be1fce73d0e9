"""`featmill snapshots`: what is released and what is published; and `featmill show`, beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir
from featmill.cli.show import show
from featmill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from featmill.warehouse.model import Release


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(snapshots)
    app.command()(show)


def snapshots(
    table: Annotated[str | None, typer.Option(help="Only this feature table's snapshots.")] = None,
    last: Annotated[
        int, typer.Option(help="Show at most this many releases, and snapshots of each table.")
    ] = 20,
    project_dir: ProjectDir = None,
) -> None:
    """List the releases and the table snapshots they are made of."""
    from featmill.settings import load_settings
    from featmill.warehouse.registry import open_registry

    registry = open_registry(load_settings(project_dir).lake_dir)
    wanted = _wanted(table, registry.lake.tables())
    releases = registry.releases()
    console.out.print(_releases(releases[-last:]) if releases else "nothing has been released yet")
    members = {
        (name, snapshot) for release in releases for name, snapshot in release.snapshots.items()
    }
    for name in wanted:
        listed = _listing(
            name,
            (
                "snapshot",
                "as_of",
                "cut-off",
                "published at",
                "rows",
                "stored",
                "definition",
                "content",
            ),
        )
        listed.add_column("released")
        erased = registry.lake.erased(name)
        for snapshot in registry.lake.snapshots(name)[-last:]:
            listed.add_row(
                snapshot.snapshot_id,
                _moment(snapshot.as_of),
                _moment(snapshot.cut_off),
                _moment(snapshot.published_at),
                f"{snapshot.rows:,}",
                "all" if snapshot.change is None else f"{snapshot.change.rows:,} changes",
                snapshot.fingerprint[:10],
                snapshot.content_hash[:10],
                _released(
                    (name, snapshot.snapshot_id) in members, erased.get(snapshot.snapshot_id)
                ),
            )
        console.out.print(listed)


def _released(is_released: bool, erased: int | None) -> str:
    said = "yes" if is_released else "no"
    return said if erased is None else f"{said}, {erased:,} erased"


def _wanted(table: str | None, published: Sequence[str]) -> Sequence[str]:
    if table is None:
        return published
    if table not in published:
        raise UsageError(
            f"no feature table {table!r} is published",
            hint=f"published: {', '.join(published) or 'nothing yet'}",
        )
    return [table]


def _releases(releases: Sequence[Release]) -> Table:
    table = _listing("Releases", ("release", "as_of", "released at", "tables"))
    for release in releases:
        table.add_row(
            release.release_id,
            _moment(release.as_of),
            _moment(release.released_at),
            str(len(release.snapshots)),
        )
    return table


def _listing(title: str, columns: Sequence[str]) -> Table:
    """A table whose first column is an id: it is never cut, whatever the width."""
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        table.add_column(column, no_wrap=position == 0, overflow="fold")
    return table


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
