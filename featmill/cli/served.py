"""`featmill served compare`: what was served against what was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir

if TYPE_CHECKING:
    from featmill.serving.plan import ServicePlan
    from featmill.serving.served_comparison import ServedComparison


def register(app: typer.Typer) -> None:
    """Add the commands."""
    served = typer.Typer(help="The log of served features.", no_args_is_help=True)
    served.callback()(_group)
    served.command()(compare)
    app.add_typer(served, name="served")


def _group() -> None:
    """The log of served features (`featmill serve --log-share`)."""


def compare(
    training: Annotated[Path, typer.Argument(help="The training set, a Parquet file.")],
    service: Annotated[str, typer.Option(help="The feature service whose log is compared.")],
    time_column: Annotated[
        str, typer.Option(help="The training set's column of moments, equal to the answers' as_of.")
    ],
    project_dir: ProjectDir = None,
) -> None:
    """Compare served values with those of a training set, by feature; exit 1 where one differs, 2 where none can be."""
    from featmill.errors import ParityError, UsageError
    from featmill.serving.api_keys import secret_of
    from featmill.serving.plan import ServicePlan
    from featmill.serving.served_comparison import TrainedSet
    from featmill.serving.served_comparison import compare as compared
    from featmill.settings import load_settings
    from orchestration import tasks

    settings = load_settings(project_dir)
    plan = ServicePlan.compiled(tasks.load_catalog(settings), service)
    trained = TrainedSet(training, plan.key_names, time_column, _columns(plan))
    secret = secret_of(settings.served_secret)
    found = compared(settings.served_log / service, trained, secret)
    _show(found, service)
    if not found.both or not found.features:
        what = "row" if not found.both else "feature"
        raise UsageError(
            f"nothing was compared: no {what} is in both",
            hint="the moments are those of the answers, to the microsecond; features are called view__feature, "
            "as `featmill train` calls them, or as they are served",
        )
    different = [one.feature for one in found.features if one.different]
    if different:
        raise ParityError(
            f"served and trained values differ in {', '.join(different)}",
            hint="rows that were not served `ok` are counted beside them; --as-of served trains on what was live",
        )


def _columns(plan: ServicePlan) -> dict[str, str]:
    """The column of each stored feature in what `featmill train` writes."""
    return {feature.name: f"{feature.ref.view}__{feature.ref.feature}" for feature in plan.stored}


def _show(found: ServedComparison, service: str) -> None:
    table = Table(title=f"Served and trained: {service}", title_justify="left")
    table.add_column("feature")
    for heading in ("rows", "equal", "different", "of these not ok", "share equal"):
        table.add_column(heading, justify="right")
    for one in found.features:
        share = "" if one.share is None else f"{one.share:.4%}"
        counts = (one.rows, one.equal, one.different, one.different_and_not_ok)
        table.add_row(one.feature, *(f"{count:,}" for count in counts), share)
    console.out.print(table)
    console.out.print(
        f"{found.logged:,} rows in the log, {found.trained:,} in the training set, {found.both:,} in both",
        highlight=False,
    )
    for said, names in (("only served", found.only_served), ("only trained", found.only_trained)):
        if names:
            console.out.print(f"{said}: {', '.join(names)}", highlight=False)
