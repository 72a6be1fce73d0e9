"""What every command shares: where it prints, its project option, and how an error looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from featmill.errors import FeatmillError, UsageError

#: A pipe has no width: wide enough there that no id is cut.
_PIPE_WIDTH = 160

out = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
err = Console(stderr=True)

ProjectDir = Annotated[
    Path | None,
    typer.Option(
        "--project-dir",
        help="The dbt project.",
        show_default="FEATMILL_PROJECT_DIR, else the current folder",
        file_okay=False,
    ),
]


def key_values(given: Sequence[str]) -> dict[str, str]:
    """What `--key column=value`, repeated, says.

    Raises:
        UsageError: one is not column=value.
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"--key {text} is not column=value")
        found[name] = value
    return found


def moment(text: str, option: str = "--at") -> datetime:
    """A moment in time travel: `2026-03-05` is its midnight in UTC, anything finer needs its zone (rule 1).

    Raises:
        UsageError: it is neither.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or (found.tzinfo is None and len(text) != len("2026-03-05")):
        raise UsageError(
            f"{option}: {text!r} is no moment", hint="2026-03-05, or 2026-03-05T06:30:00+00:00"
        )
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)


def report(error: FeatmillError) -> None:
    """Print an error and its hint to standard error."""
    err.print(f"[bold red]error:[/] {_plain(error.message)}", highlight=False, soft_wrap=True)
    if error.hint:
        err.print(f"[bold]hint:[/] {_plain(error.hint)}", highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress display on standard error, so that standard output stays clean for pipes."""
    columns = (
        SpinnerColumn(),
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as shown:
        yield shown
