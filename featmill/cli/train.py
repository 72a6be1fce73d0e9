"""`featmill train`: a point-in-time training set from a spine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featmill.cli import console
from featmill.cli.console import ProjectDir
from featmill.errors import UsageError

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog, FeatureRef


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    spine: Annotated[
        Path, typer.Argument(help="The rows to make features for: a .parquet or .csv file.")
    ],
    time_column: Annotated[str, typer.Option(help="The spine's column with each row's moment.")],
    out: Annotated[
        Path, typer.Option(help="The .parquet file to write; its manifest is written beside it.")
    ],
    service: Annotated[
        str | None, typer.Option(help="A feature service: a dbt exposure of type ml.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="view:feature,... instead of, or beside, a service.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="The zone of a time column that has none, such as UTC.")
    ] = None,
    status: Annotated[
        bool, typer.Option(help="Add view__status and the found row's time.")
    ] = False,
    project_dir: ProjectDir = None,
) -> None:
    """Write a training set: the spine's rows and columns in its order, then [bold]view__feature[/] columns.

    Each row sees the released features as they stood at its moment. Nothing online is needed.
    """
    from featmill.settings import load_settings
    from featmill.training.training_set import TrainingRequest, build_training_set
    from featmill.warehouse.registry import open_registry
    from orchestration import tasks

    settings = load_settings(project_dir)
    with console.progress() as shown:
        shown.add_task("reading the contract", total=None)
        catalog = tasks.load_catalog(settings)
        shown.add_task("joining the spine", total=None)
        made = build_training_set(
            catalog,
            open_registry(settings.lake_dir),
            TrainingRequest(
                spine=spine,
                time=time_column,
                features=wanted_features(catalog, service, features),
                out=out,
                zone=zone,
                status=status,
                service=service,
                project=settings.root,
            ),
        )
    console.out.print(
        f"wrote {made.rows:,} rows, {len(made.columns)} columns to {made.path}", soft_wrap=True
    )
    console.out.print(f"manifest: {made.manifest}", soft_wrap=True)


def wanted_features(
    catalog: Catalog, service: str | None, listed: str | None
) -> tuple[FeatureRef, ...]:
    """The features of a service and of a `view:feature,...` list, each once.

    Raises:
        UsageError: neither is given, or an item of the list is not `view:feature`.
    """
    from featmill.contract.catalog import FeatureRef

    found = list(catalog.service(service).features) if service is not None else []
    for item in (listed or "").split(","):
        if not item.strip():
            continue
        view, colon, feature = item.strip().partition(":")
        if not (view and colon and feature):
            raise UsageError(f"--features: {item!r} is not view:feature")
        found.append(FeatureRef(view=view, feature=feature))
    if not found:
        raise UsageError(
            "no feature was asked for", hint="give --service NAME or --features view:feature,..."
        )
    return tuple(dict.fromkeys(found))
