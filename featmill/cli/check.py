"""`featmill check`: every mistake in a project's declarations, by file and line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from featmill.cli.console import ProjectDir
from featmill.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from featmill.contract.catalog import Catalog
    from featmill.contract.problems import Problem
    from featmill.settings import Settings

MISTAKES = 2


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("check")(check_command)


def check_command(project_dir: ProjectDir = None) -> None:
    """Report every mistake in the project's declarations, by file and line.

    Parses the dbt project first where a file of it has changed. Exits with 2 if there is a mistake.
    """
    run_check(load_settings(project_dir))


def run_check(settings: Settings) -> None:
    """Print what the project declares, or every mistake in it.

    Raises:
        Exit: there is a mistake.
    """
    from rich.console import Console

    from featmill.contract.manifest import examine
    from orchestration.tasks import ensure_parsed

    ensure_parsed(settings)
    found = examine(settings.manifest, settings.root)
    if found.catalog is None:
        _show(found.problems, Console(), Console(stderr=True))
        raise typer.Exit(MISTAKES)
    _check_request_features(found.catalog)
    typer.echo(f"{_contents(found.catalog)}: no mistakes")


def _check_request_features(catalog: Catalog) -> None:
    """What only DuckDB can say of an expression: whether its types fit. It tells no line.

    Raises:
        ContractError: an expression does not bind, or gives another type than is declared; the message lists all.
    """
    services = [service for service in catalog.services if service.request_features]
    if not services:
        return
    from featmill.errors import ContractError
    from featmill.serving.request.features import check_expressions, stored_columns

    wrong = []
    for service in services:
        types = {name: kind for name, (_, kind) in stored_columns(catalog, service).items()}
        wrong += check_expressions(service, types)
    if wrong:
        raise ContractError("\n".join(wrong), hint="mend the exposure's request_features")


def _show(problems: Sequence[Problem], console: Console, errors: Console) -> None:
    """A table for people; for an editor or a log, one line each that it can jump to."""
    from rich.table import Table
    from rich.text import Text

    if console.is_terminal:
        table = Table("where", "what", "mistake", "expected")
        for problem in problems:
            where = f"{problem.file}:{problem.line}"
            cells = (where, problem.subject, problem.message, problem.expected)
            # As Text: `[int]` in a message is not markup.
            table.add_row(*(Text(cell, overflow="fold") for cell in cells))
        console.print(table)
    else:
        for problem in problems:
            typer.echo(str(problem))
    errors.print(_count(len(problems), "mistake"), highlight=False)


def _contents(catalog: Catalog) -> str:
    features = sum(len(table.features) for table in catalog.tables)
    counts = (
        _count(len(catalog.tables), "feature table"),
        _count(features, "feature"),
        _count(len(catalog.services), "service"),
    )
    return ", ".join(counts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
