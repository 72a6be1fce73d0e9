"""`featmill export` and `featmill verify`: put a release online, and prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.progress import Progress, TaskID

    from featmill.settings import Settings
    from orchestration.online_steps import Exported, Verified
    from orchestration.online_views import ExportedView

ReleaseId = Annotated[
    str | None, typer.Option("--release", help="The release; default the newest.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(export)
    app.command()(verify)


def export(
    release: ReleaseId = None,
    force: Annotated[
        bool, typer.Option(help="Write every row, even where the store has the snapshot.")
    ] = False,
    feast: Annotated[bool, typer.Option(help="Also write and apply the Feast repository.")] = True,
    project_dir: ProjectDir = None,
) -> None:
    """Put a release online: Redis in Feast's own bytes, and the Feast repository that reads it.

    In generation mode it is written and proven beside what serves; [bold]featmill promote[/] then makes it serve.
    A killed export is resumed by running it again.
    """
    from featmill.settings import load_settings

    show_export(run_export(load_settings(project_dir), release, force=force, with_feast=feast))


def verify(
    release: Annotated[
        str | None, typer.Option("--release", help="The release; default the one that serves.")
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            help="Look at so many entities of each view, or at a share of them such as 1%, and prove nothing."
        ),
    ] = None,
    project_dir: ProjectDir = None,
) -> None:
    """Prove that every key and feature that serves equals its release; exit 1 and say where not.

    With [bold]--release[/] what holds that release is compared, also where it does not serve.
    """
    from featmill.settings import load_settings

    show_verify(run_verify(load_settings(project_dir), release, sample))


def run_export(
    settings: Settings, release: str | None = None, *, force: bool = False, with_feast: bool = True
) -> Exported:
    """Export with a progress bar for each view."""
    from orchestration import online_steps

    with console.progress() as shown:
        return online_steps.export(
            settings, release, step_bars(shown, "online"), force=force, with_feast=with_feast
        )


def run_verify(
    settings: Settings, release: str | None = None, sample: str | None = None
) -> Verified:
    """Verify with a progress bar for each view."""
    from orchestration import online_steps

    with console.progress() as shown:
        return online_steps.verify(settings, release, step_bars(shown, "verify"), sample=sample)


def show_export(done: Exported) -> None:
    """Print what went online and how fast."""
    title = "Online" if done.is_live else "Written and proven beside what serves"
    console.out.print(views_table(f"{title}: release {done.release_id}", done.views))
    if not done.is_live:
        console.out.print(
            f"featmill promote --release {done.release_id} makes it serve", highlight=False
        )
    for gone in done.retired:
        console.out.print(
            f"retired {gone.view}: {gone.entities:,} entities, no longer declared online",
            highlight=False,
        )
    if done.absent:
        console.out.print(f"not in this release: {', '.join(done.absent)}", highlight=False)
    if done.feast_services:
        console.out.print(f"Feast serves: {', '.join(done.feast_services)}", highlight=False)


def views_table(title: str, views: Sequence[ExportedView]) -> Table:
    """What was written of each view."""
    table = Table(title=title, title_justify="left")
    table.add_column("view")
    for column in ("entities", "written", "deleted", "MB", "seconds", "entities/s"):
        table.add_column(column, justify="right")
    for view in views:
        rate = "unchanged" if view.unchanged else f"{view.written / max(view.seconds, 1e-9):,.0f}"
        resumed = f" (resumed at {view.resumed_from:,})" if view.resumed_from else ""
        table.add_row(
            view.view + resumed,
            f"{view.entities:,}",
            f"{view.written:,}",
            f"{view.deleted:,}",
            f"{view.bytes / 1e6:.1f}",
            f"{view.seconds:.2f}",
            rate,
        )
    return table


def show_verify(found: Verified) -> None:
    """Print what was compared."""
    beside = [
        f"generation {r.rows_project} ({r.state}, does not serve)"
        for r in found.rows
        if not r.serves
    ]
    what = " and ".join(beside) if len(beside) == len(found.rows) > 0 else "online"
    if 0 < len(beside) < len(found.rows):
        what = " and ".join(["what serves of it", *beside])
    title = f"Verified: {what} equals release {found.release_id}"
    if found.is_sample:
        title = f"Sampled, which proves nothing: {what} has no difference from release {found.release_id}"
    table = Table(title=title, title_justify="left")
    table.add_column("view")
    for column in ("entities", "values", "differences", "seconds", "values/s", "MB/s"):
        table.add_column(column, justify="right")
    for report in found.reports:
        sampled = "" if report.sampled is None else f" (sample of {report.sampled:.2%})"
        table.add_row(
            report.view + sampled,
            f"{report.checked_entities:,}",
            f"{report.checked_values:,}",
            f"{report.total_differences:,}",
            f"{report.seconds:.2f}",
            f"{report.values_per_second:,.0f}",
            f"{report.megabytes_per_second:.1f}",
        )
    console.out.print(table)
    for report in found.reports:
        if report.expired:
            console.out.print(
                f"{report.view}: {report.expired:,} entities past their ttl are gone from the store, as they may",
                highlight=False,
            )
    if found.absent:
        console.out.print(f"not in this release: {', '.join(found.absent)}", highlight=False)


def step_bars(shown: Progress, what: str) -> Callable[[str, int, int], None]:
    """A bar for each view, as the steps tell of them."""
    bars: dict[str, TaskID] = {}

    def on_step(view: str, rows: int, total: int) -> None:
        if view not in bars:
            bars[view] = shown.add_task(f"{what}: {view}", total=total)
        shown.update(bars[view], completed=rows)

    return on_step
