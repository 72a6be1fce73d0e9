"""`featmill backfill`: fill the gaps of a range of dates, in one dbt process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from featmill.cli import console
from featmill.cli.console import ProjectDir

if TYPE_CHECKING:
    from datetime import datetime

    from orchestration.backfill import DateBuilt, Dates
    from orchestration.dbt_process import NodeResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(backfill)


def backfill(
    first: Annotated[
        str, typer.Option("--from", help="The first date: a UTC day, or a moment with its zone.")
    ],
    last: Annotated[str, typer.Option("--to", help="The last date, which is built too.")],
    step: Annotated[
        str, typer.Option(help="From one date to the next: a duration such as 1d or 6h.")
    ] = "1d",
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Build every date, expired ones too; what is the same appends nothing."
        ),
    ] = False,
    late: Annotated[
        bool, typer.Option("--late", help="Also correct the dates that rows arrived late for.")
    ] = False,
    project_dir: ProjectDir = None,
) -> None:
    """Build, test and publish every date that is missing or stale.

    Run again after an interruption, it goes on where it stopped. What retention removed is left out, but at a date that
    has another gap. See [bold]featmill intervals[/].
    """
    from featmill.settings import load_settings
    from orchestration.backfill import Backfill, Watch

    dates = read_dates(first, last, step)
    with console.progress() as shown:
        bar = shown.add_task("dbt: parsing", total=None)

        def on_plan(todo: int, asked: int, expired: int) -> None:
            shown.update(bar, description="backfill", total=todo)
            console.out.print(
                f"{asked} dates asked for, {asked - todo - expired} complete, "
                + (f"{expired} expired, " if expired else "")
                + f"{todo} to build",
                highlight=False,
            )

        def on_date(built: DateBuilt) -> None:
            shown.update(bar, description=f"{_moment(built.as_of)}", completed=built.position)
            console.out.print(_line(built), highlight=False, soft_wrap=True)

        def on_node(node: NodeResult, ended: int, total: int) -> None:
            shown.update(bar, description=f"dbt {ended}/{total}: {node.name}")

        watch = Watch(on_date=on_date, on_node=on_node, on_plan=on_plan)
        done = Backfill(load_settings(project_dir)).run(dates, force=force, late=late, watch=watch)
    seconds = sum(built.seconds for built in done)
    console.out.print(f"{len(done)} dates built in {seconds:.1f} s" if done else "nothing to build")


def read_dates(first: str, last: str, step: str) -> Dates:
    """The dates of a range as the command line gives it.

    Raises:
        AsOfError: an end is no UTC day and no moment with its zone.
        ContractError: the step is no duration.
        UsageError: the range is empty.
    """
    from featmill.contract.declarations import parse_duration
    from orchestration.backfill import Dates
    from orchestration.tasks import moment_of

    dates = Dates(moment_of(first), moment_of(last), parse_duration(step))
    dates.as_ofs()
    return dates


def _line(built: DateBuilt) -> str:
    changed = sum(1 for r in built.outcome.results if r.message.startswith("published"))
    said = built.outcome.said[-1] if built.outcome.said else ""
    how = "  dbt build" if built.by_dbt else ""
    where = f"{built.position:>{len(str(built.total))}}/{built.total}"
    tables = f"{len(built.tables)} tables" + ("" if built.by_dbt else f", {changed} new")
    return f"{where}  {_moment(built.as_of)}  {built.seconds:5.1f} s  {tables}  {said}{how}"


def _moment(moment: datetime) -> str:
    """A day, or with its time where it is no midnight."""
    text = f"{moment:%Y-%m-%d %H:%M:%S}" + (f".{moment:%f}" if moment.microsecond else "")
    return text.removesuffix(" 00:00:00")
