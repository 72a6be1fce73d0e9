"""`featmill promote`, `featmill rollback` and `featmill live`: which release serves."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from exporters.redis.removal import RemovedGeneration
    from orchestration.live_projects import KeptGeneration, LiveProject, LiveView
    from orchestration.promotion import Promoted, RolledBack


class Mode(StrEnum):
    """How a release goes online."""

    in_place = "in_place"
    generation = "generation"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(promote)
    app.command()(rollback)
    app.command()(live)


def promote(
    release: Annotated[
        str | None, typer.Option("--release", help="The release; default the newest.")
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(help="How it goes online.", show_default="FEATMILL_PUBLISH_MODE"),
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Also what does not come after what was promoted before, as after a rollback.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write every row, even where the store has the release.")
    ] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Promote nothing, only remove what is not kept.")
    ] = False,
    feast: Annotated[bool, typer.Option(help="Also write and apply the Feast repository.")] = True,
    project_dir: ProjectDir = None,
) -> None:
    """Make a release serve: write it, prove it, flip to it, then remove what is not kept.

    A killed promotion is finished by running it again.
    """
    from featmill.cli.export import step_bars
    from featmill.online.serving_state import PublishMode
    from featmill.settings import load_settings
    from orchestration import promotion

    settings = load_settings(project_dir)
    with console.progress() as shown:
        bars = step_bars(shown, "promote")
        if clean:
            removed = promotion.clean(settings, bars)
        else:
            how = None if mode is None else PublishMode(mode.value)
            wanted = promotion.Wanted(release, how, again=again, force=force, with_feast=feast)
            done = promotion.promote_as(settings, wanted, bars)
            removed = done.removed
    if not clean:
        show_promoted(done)
    _show_removed(removed, is_all=clean)


def rollback(
    to: Annotated[
        str | None,
        typer.Option("--to", help="The release; default what was live before what is."),
    ] = None,
    project_dir: ProjectDir = None,
) -> None:
    """Make what served before serve again: one flip where the store keeps it, else by writing it again."""
    from featmill.settings import load_settings
    from orchestration import promotion

    done = promotion.rollback(load_settings(project_dir), to, show_rolled_back)
    if done.feast_problem is not None:
        console.err.print(
            f"[bold red]the Feast repository still reads what was left:[/] {done.feast_problem}",
            highlight=False,
        )
        raise typer.Exit(1)


def live(
    as_json: Annotated[bool, typer.Option("--json", help="For a program to read.")] = False,
    project_dir: ProjectDir = None,
) -> None:
    """Show what serves: release, snapshots, generation, age, entities and memory."""
    from featmill.settings import load_settings
    from orchestration.live_projects import live as live_projects

    found = live_projects(load_settings(project_dir))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], default=_as_json, indent=2))
        return
    if not found:
        console.out.print("nothing was ever promoted")
    for one in found:
        for table in live_tables(one):
            console.out.print(table)


def show_promoted(done: Promoted) -> None:
    """Print what was written, and since when it serves."""
    from featmill.cli.export import views_table

    console.out.print(views_table(f"Promoted: release {done.release_id}", done.views))
    compared = sum(report.checked_values for report in done.reports)
    if compared:
        console.out.print(f"proven: {compared:,} values equal the release", highlight=False)
    where = ", ".join(rows for _, rows in done.rows_projects)
    said = f"serves, {done.seconds:.2f} s after the start" if done.flipped else "served already"
    console.out.print(f"{done.release_id} {said} ({done.mode}: {where})", highlight=False)
    for gone in done.retired:
        console.out.print(
            f"retired {gone.view}: {gone.entities:,} entities, no longer declared online",
            highlight=False,
        )
    if done.absent:
        console.out.print(f"not in this release: {', '.join(done.absent)}", highlight=False)
    if done.feast_services:
        console.out.print(f"Feast serves: {', '.join(done.feast_services)}", highlight=False)


def show_rolled_back(done: RolledBack) -> None:
    """Print what serves again, and how long it took."""
    from featmill.cli.export import views_table

    if done.views:
        title = f"Written again, the store did not keep it: release {done.release_id}"
        console.out.print(views_table(title, done.views))
    left = f", instead of {done.left}" if done.left not in (None, done.release_id) else ""
    console.out.print(
        f"{done.release_id} serves again{left}, {done.seconds:.3f} s after the start",
        highlight=False,
    )


def live_tables(one: LiveProject) -> list[Table]:
    """What one Feast project serves, and what else the store keeps of it."""
    facts = Table(title=f"Feast project {one.project}", title_justify="left", show_header=False)
    facts.add_row("serves", one.release_id)
    facts.add_row("as of", f"{_moment(one.as_of)}, {age(one.age)} ago")
    facts.add_row("since", _moment(one.since))
    facts.add_row("how", f"{one.mode}, rows under {one.rows_project}, epoch {one.epoch}")
    whole = "complete" if one.is_complete else "INCOMPLETE: rows are being replaced"
    facts.add_row("state", whole)
    serves = Table()
    serves.add_column("view", no_wrap=True)
    serves.add_column("snapshot", no_wrap=True)
    for column in ("entities", "memory"):
        serves.add_column(column, justify="right", no_wrap=True)
    serves.add_column("state", overflow="fold")
    for view in one.views:
        serves.add_row(
            view.view,
            view.snapshot_id or "one of two",
            f"{view.entities:,}",
            _memory(view.bytes),
            _state(view),
        )
    others = [_others(one.generations)] if one.generations else []
    return [facts, serves, *others]


def age(since: timedelta) -> str:
    """A duration in its two greatest units: `3 d 4 h`."""
    seconds = max(0, int(since.total_seconds()))
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts = []
    for name, length in units:
        number, seconds = divmod(seconds, length)
        parts.append((number, name))
    first = next((i for i, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return (
        " ".join(f"{number} {name}" for number, name in parts[first : first + 2] if number) or "0 s"
    )


def _others(generations: Sequence[KeptGeneration]) -> Table:
    table = Table(title="Also in the store", title_justify="left")
    for column in ("rows under", "release", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("entities", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    for other in generations:
        table.add_row(
            other.rows_project,
            other.release_id,
            other.state.value,
            f"{other.entities:,}",
            _memory(other.bytes),
        )
    return table


def _state(view: LiveView) -> str:
    if view.is_complete:
        return "complete"
    return f"incomplete: row {view.position:,} of {view.to_write:,}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _memory(size: int | None) -> str:
    return "?" if size is None else f"~{size / 1e6:,.1f} MB"


def _show_removed(removed: Sequence[RemovedGeneration], *, is_all: bool) -> None:
    for gone in removed:
        console.out.print(
            f"removed {gone.rows_project}: {gone.entities:,} entities", highlight=False
        )
    if is_all and not removed:
        console.out.print("nothing to remove")


def _as_json(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if not hasattr(value, "isoformat") else value.isoformat()
