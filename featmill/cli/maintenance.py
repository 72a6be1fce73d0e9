"""`featmill expire`, `featmill erase` and `featmill forget`: the only commands that take something out of the lake."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir

if TYPE_CHECKING:
    from collections.abc import Sequence


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (expire, erase, forget):
        app.command()(command)


def expire(
    older_than: Annotated[
        str, typer.Option(help="Snapshots of as_ofs so long before the newest release's: 90d.")
    ],
    keep_last: Annotated[
        int, typer.Option(min=1, help="Keep so many of each table's newest as_ofs at least.")
    ] = 2,
    dry_run: Annotated[bool, typer.Option(help="Only say what would go.")] = False,
    project_dir: ProjectDir = None,
) -> None:
    """Remove old snapshots that nothing needs.

    What is online, what a rollback would bring back, the newest release, what a training set was made of and what a
    later snapshot is stored as changes of stays, whatever its age.
    """
    from featmill.contract.declarations import parse_duration
    from featmill.settings import load_settings
    from orchestration.maintenance import expire_snapshots

    settings = load_settings(project_dir)
    with console.progress() as shown:
        shown.add_task("judging the snapshots", total=None)
        done = expire_snapshots(settings, parse_duration(older_than), keep_last, is_dry=dry_run)
    listed = Table(title="Snapshots", title_justify="left")
    for position, column in enumerate(("table", "snapshot", "as_of", "", "because")):
        listed.add_column(column, no_wrap=position in (1, 2), overflow="fold")
    for one in done.decisions:
        said = "stays" if one.keeps else "would go" if dry_run else "expired"
        moment = f"{one.snapshot.as_of:%Y-%m-%d %H:%M:%S}"
        why = ", ".join(one.keeps)
        listed.add_row(one.snapshot.table, one.snapshot.snapshot_id, moment, said, why)
    console.out.print(listed)
    gone = sum(1 for one in done.decisions if not one.keeps)
    console.out.print(
        f"{gone} would go" if dry_run else f"{gone} expired, {done.freed / 1e6:,.1f} MB freed"
    )


def erase(
    key: Annotated[
        list[str], typer.Option(help="The entity's key, as column=value; repeat it for others.")
    ],
    blank: Annotated[
        str | None,
        typer.Option(help="Only set these features to NULL, and keep the rows: name,name."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    project_dir: ProjectDir = None,
) -> None:
    """Erase an entity from all snapshots of the published tables with its key, from event logs and the Iceberg mirror.

    It cannot be undone. The sources are not featmill's: what they still hold, a build of a later as_of publishes again.
    """
    from featmill.settings import load_settings
    from orchestration import tasks
    from orchestration.maintenance import erase_entity

    wanted = console.key_values(key)
    if not yes:
        typer.confirm(f"Erase {', '.join(key)} for good?", abort=True)
    settings = load_settings(project_dir)
    with console.progress() as shown:
        shown.add_task("reading the contract", total=None)
        catalog = tasks.load_catalog(settings)
        shown.add_task("erasing", total=None)
        columns = [name for name in (blank or "").split(",") if name]
        done = erase_entity(settings, catalog, wanted, columns)
    listed = Table(title="Erased", title_justify="left")
    for column in ("table", "snapshots", "rows", "events"):
        listed.add_column(column)
    for one in done.tables:
        rows = sum(one.rows.values())
        listed.add_row(one.table, str(len(one.rows)), f"{rows:,}", f"{one.event_rows:,}")
    console.out.print(listed)
    console.out.print("online and Feast: run `featmill export` to take it from there too")
    _say_training_sets(done.training_sets)


def forget(
    manifest: Annotated[Path, typer.Argument(help="The training set's manifest.")],
    project_dir: ProjectDir = None,
) -> None:
    """Let retention have the snapshots that a training set was made of."""
    from featmill.settings import load_settings
    from featmill.warehouse import training_pins
    from featmill.warehouse.registry import open_registry

    training_pins.forget(open_registry(load_settings(project_dir).lake_dir).lake, manifest)
    console.out.print(f"forgotten: {manifest}", soft_wrap=True)


def _say_training_sets(manifests: Sequence[str]) -> None:
    if manifests:
        console.out.print("training sets made of these snapshots still hold what they took:")
        for manifest in manifests:
            console.out.print(f"  {manifest}", soft_wrap=True)
