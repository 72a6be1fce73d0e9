"""`featmill build`: dbt build with progress, at one as_of or several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir

if TYPE_CHECKING:
    from featmill.settings import Settings
    from orchestration.dbt_process import BuildOutcome, NodeResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(build)


def build(
    as_of: Annotated[
        list[str] | None,
        typer.Option(
            help="Compute features at this UTC day or moment; give it several times for several snapshots."
        ),
    ] = None,
    result: Annotated[
        Path | None,
        typer.Option(
            help="Write every node's result here as JSON and leave judging the tests to the caller."
        ),
    ] = None,
    project_dir: ProjectDir = None,
) -> None:
    """Build, test and publish: [bold]dbt build[/] in one process, with progress.

    Without --as-of: FEATMILL_AS_OF, else the newest UTC midnight that the sources have reached.
    """
    from featmill.settings import load_settings
    from orchestration import tasks

    outcomes = run_build(load_settings(project_dir), as_of or [None])
    show_outcomes(outcomes)
    if result is not None:
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text(json.dumps([asdict(outcome) for outcome in outcomes]))
        return
    tasks.gate(outcomes)


def run_build(settings: Settings, as_ofs: Sequence[str | None]) -> list[BuildOutcome]:
    """Build with a bar for each date's nodes; in a log, where nothing moves, with a line for each."""
    from orchestration import tasks

    with console.progress() as shown:
        bar = shown.add_task("dbt: parsing", total=None)
        date = 0

        def on_node(node: NodeResult, ended: int, total: int) -> None:
            nonlocal date
            date += ended == 1
            where = f"dbt {date}/{len(as_ofs)}" if len(as_ofs) > 1 else "dbt"
            shown.update(
                bar, description=f"{where}: {node.name}", completed=ended, total=total or None
            )
            if not console.err.is_terminal:
                console.err.print(
                    f"{where}: {node.kind} {node.name}: {node.status}",
                    highlight=False,
                    soft_wrap=True,
                )

        return tasks.build(settings, as_ofs, on_node)


def show_outcomes(outcomes: Sequence[BuildOutcome]) -> None:
    """Print what was built and what the gates said."""
    table = Table(title="What was built", title_justify="left")
    for column in ("as_of", "models", "published", "tests passed", "tests failed", "seconds"):
        table.add_column(column, justify="left" if column == "as_of" else "right")
    for outcome in outcomes:
        tests = [result for result in outcome.results if result.is_test]
        table.add_row(
            (outcome.as_of or "?").removesuffix("+00:00"),
            str(sum(1 for r in outcome.results if r.kind == "model" and r.status == "success")),
            str(sum(1 for r in outcome.results if r.kind == "published" and r.status == "success")),
            str(sum(1 for r in tests if r.status in ("pass", "warn"))),
            str(sum(1 for r in tests if r.failed)),
            f"{sum(r.seconds for r in outcome.results):.1f}",
        )
    console.out.print(table)
    for line in (line for outcome in outcomes[-1:] for line in outcome.said):
        console.out.print(f"  {line}", highlight=False, soft_wrap=True)
