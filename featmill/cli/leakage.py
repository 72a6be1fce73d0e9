"""`featmill leakage`: proof that features at a moment do not depend on what came after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from featmill.cli import console
from featmill.cli.console import ProjectDir

if TYPE_CHECKING:
    from orchestration.leakage import LeakageReport

LEAKS = 1


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(leakage)


def leakage(
    at: Annotated[
        str | None,
        typer.Option(
            help="The UTC day or moment to look at.",
            show_default="the midnight before three quarters of the sources' events",
        ),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(help="A feature table, several times for several. Default: all."),
    ] = None,
    project_dir: ProjectDir = None,
) -> None:
    """Look for features that know the future.

    Builds the feature tables at a moment, alters, shuffles and deletes every source row after it, builds them again
    and compares: once by when rows happened, once by when they were ingested. Reads the compiled SQL as well. All of it
    in a temporary home. Exits with 1 where something leaks.
    """
    from featmill.settings import load_settings
    from orchestration.leakage import BUILDS, find_leaks
    from orchestration.tasks import moment_of

    settings = load_settings(project_dir)
    moment = None if at is None else moment_of(at)
    with console.progress() as shown:
        bar = shown.add_task("dbt: parsing", total=BUILDS)
        started = 0

        def on_build(what: str) -> None:
            nonlocal started
            shown.update(bar, description=what, completed=started)
            started += 1
            if not console.err.is_terminal:
                console.err.print(what, highlight=False)

        report = find_leaks(settings, moment, table or (), on_build)
    _show(report)
    if report.findings:
        raise typer.Exit(LEAKS)


def _show(report: LeakageReport) -> None:
    """Findings a line each, for an editor to jump to; then what was looked at, so that silence says something."""
    for finding in report.findings:
        typer.echo(str(finding))
    typer.echo(f"looked at {', '.join(report.tables)} at {report.at:%Y-%m-%d %H:%M:%S} UTC:")
    for line in report.checked:
        typer.echo(f"  {line}")
    for line in report.skipped:
        typer.echo(f"  not checked: {line}")
    count = len(report.findings)
    typer.echo(f"{count} leak{'' if count == 1 else 's'}" if count else "no leak found")
