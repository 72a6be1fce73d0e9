"""`featmill snapshots`: what is released and what is published."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(snapshots)


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
    releases = registry.releases()
    shown = Table(
        "release", "as_of", "released at", "tables", title="Releases", title_justify="left"
    )
    for release in releases[-last:]:
        shown.add_row(
            release.release_id,
            _moment(release.as_of),
            _moment(release.released_at),
            str(len(release.snapshots)),
        )
    console.out.print(shown if releases else "nothing has been released yet")
    members = {
        (name, snapshot) for release in releases for name, snapshot in release.snapshots.items()
    }
    for name in [table] if table else registry.lake.tables():
        listed = Table(
            "snapshot",
            "as_of",
            "cut-off",
            "published at",
            "rows",
            "definition",
            "content",
            "released",
            title=name,
        )
        listed.title_justify = "left"
        for snapshot in registry.lake.snapshots(name)[-last:]:
            listed.add_row(
                snapshot.snapshot_id,
                _moment(snapshot.as_of),
                _moment(snapshot.cut_off),
                _moment(snapshot.published_at),
                f"{snapshot.rows:,}",
                snapshot.fingerprint[:10],
                snapshot.content_hash[:10],
                "yes" if (name, snapshot.snapshot_id) in members else "no",
            )
        console.out.print(listed)


def _moment(moment: object) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
