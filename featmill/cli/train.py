"""`featmill train`: a point-in-time training set from a spine; `featmill train verify`: the same set again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir
from featmill.cli.spine_group import ArgumentOrCommand
from featmill.cli.train_options import (
    AsOf,
    AsOfMode,
    At,
    Engine,
    Explain,
    Features,
    Immature,
    LabelAt,
    LabelHorizon,
    Memory,
    Model,
    Out,
    Service,
    SnapshotId,
    SourceTimes,
    SpinePath,
    Sql,
    Status,
    TimeColumn,
    ValueStatus,
    WhenImmature,
    Windows,
    WindowsAt,
    Zone,
)
from featmill.errors import FeatmillError, TrainingSetDiffers, UsageError
from featmill.training.request import MEMORY

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog, FeatureRef
    from featmill.contract.declarations import LabelDeclaration
    from featmill.settings import Settings
    from featmill.training.request import Label, TrainingRequest
    from featmill.training.spine_source import SpineSource


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=ArgumentOrCommand, invoke_without_command=True)
    group.callback()(train)
    group.command()(verify)
    app.add_typer(group, name="train")


def train(
    spine: SpinePath = None,
    time_column: TimeColumn = None,
    out: Out = None,
    sql: Sql = None,
    model: Model = None,
    service: Service = None,
    features: Features = None,
    zone: Zone = None,
    status: Status = False,
    source_times: SourceTimes = False,
    value_status: ValueStatus = False,
    as_of: AsOfMode = AsOf.event,
    windows: WindowsAt = Windows.snapshot,
    snapshot: SnapshotId = None,
    at: At = None,
    label_horizon: LabelHorizon = None,
    label_at: LabelAt = None,
    immature: WhenImmature = Immature.refuse,
    engine: Engine = "auto",
    memory: Memory = MEMORY,
    explain: Explain = False,
    project_dir: ProjectDir = None,
) -> None:
    """Write a training set: the spine's rows and columns in its order, then [bold]view__feature[/] columns.

    Each row sees the released features as they stood at its moment. Nothing online is needed.
    """
    from featmill.settings import load_settings
    from featmill.training.request import TrainingRequest

    settings = load_settings(project_dir)
    catalog, source, declared = _opened(settings, spine, sql, model)
    more: dict[str, Any] = {"status": status, "source_times": source_times}
    more |= {"value_status": value_status, "engine": engine, "memory": memory}
    more |= {"mode": as_of.value, "windows": windows.value, "release": snapshot}
    request = TrainingRequest(
        spine=source,
        time=_time_column(time_column, declared),
        features=wanted_features(catalog, service, features),
        out=out,
        zone=zone,
        service=service,
        project=settings.root,
        at=None if at is None else console.moment(at),
        label=_label(label_horizon, label_at, immature, declared),
        **more,
    )
    (_explain if explain else _build)(settings, catalog, request)


def verify(
    manifest: Annotated[Path, typer.Argument(help="The manifest beside a training set.")],
    spine: Annotated[
        Path | None, typer.Option(help="The spine, where it is not where the manifest says.")
    ] = None,
    project_dir: ProjectDir = None,
) -> None:
    """Make a training set again from its manifest: identical, or the cause of the difference and exit code 1."""
    from featmill.settings import load_settings
    from featmill.training.spine_source import file_spine
    from featmill.training.verify import verify_training_set
    from featmill.warehouse.registry import open_registry

    settings = load_settings(project_dir)
    lake = open_registry(settings.lake_dir).lake
    with console.progress() as shown:
        shown.add_task("making the set again", total=None)
        source = None if spine is None else file_spine(spine)
        found = verify_training_set(manifest, lake, source, _catalog_of_now(settings))
    if not found.is_identical:
        listed = "\n".join(f"  {said}" for said in (*found.causes, *found.notes))
        raise TrainingSetDiffers(f"{manifest}: not identical\n{listed}")
    console.out.print(f"identical: {found.rows:,} rows, made again from {manifest}", soft_wrap=True)
    for note in found.notes:
        console.out.print(f"although {note}", soft_wrap=True, highlight=False)


def _catalog_of_now(settings: Settings) -> Catalog | None:
    """What the project declares, None where that cannot be read: a set is made again without it."""
    from featmill.contract.manifest import load

    try:
        return load(settings.manifest, settings.root)
    except FeatmillError:
        return None


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


def _opened(
    settings: Settings, path: Path | None, sql: str | None, model: str | None
) -> tuple[Catalog, SpineSource, LabelDeclaration | None]:
    from orchestration import tasks

    with console.progress() as shown:
        shown.add_task("reading the contract", total=None)
        catalog = tasks.load_catalog(settings)
        shown.add_task("reading the spine", total=None)
        return catalog, *_source(settings, path, sql, model)


def _source(
    settings: Settings, path: Path | None, sql: str | None, model: str | None
) -> tuple[SpineSource, LabelDeclaration | None]:
    """The one spine that was given; of a model also what it declares of its labels."""
    from featmill.training.spine_source import file_spine, sql_spine
    from orchestration.training_steps import spine_of_model

    if sum(given is not None for given in (path, sql, model)) != 1:
        raise UsageError("give one spine: a file, --sql or --model")
    if model is not None:
        return spine_of_model(settings, model)
    if sql is not None:
        return sql_spine(sql, settings.features_database), None
    return file_spine(Path() if path is None else path), None


def _time_column(given: str | None, declared: LabelDeclaration | None) -> str:
    found = given or (None if declared is None else declared.at)
    if found is None:
        raise UsageError("--time-column is missing: the spine's column with each row's moment")
    return found


def _label(
    horizon: str | None, at: str | None, immature: Immature, declared: LabelDeclaration | None
) -> Label | None:
    """The label that is asked for; what is said on the command line wins over what the model declares."""
    from featmill.contract.declarations import parse_duration
    from featmill.training.request import Label

    found = None
    if declared is not None:
        found = Label(declared.horizon, declared.at, immature.value)
    if horizon is not None:
        begins = None if found is None else found.at
        found = Label(parse_duration(horizon), begins, immature.value)
    if at is not None:
        if found is None:
            raise UsageError("--label-at says where a horizon begins: give --label-horizon too")
        found = replace(found, at=at)
    return found


def _build(settings: Settings, catalog: Catalog, request: TrainingRequest) -> None:
    from featmill.training.training_set import build_training_set
    from featmill.warehouse.registry import open_registry

    if request.out is None:
        raise UsageError("--out is missing: the .parquet file to write")
    with console.progress() as shown:
        shown.add_task("joining the spine", total=None)
        made = build_training_set(catalog, open_registry(settings.lake_dir), request)
    console.out.print(
        f"wrote {made.rows:,} rows, {len(made.columns)} columns to {made.path}", soft_wrap=True
    )
    if made.labels.get("immature"):
        console.out.print(f"left out {made.labels['immature']:,} rows with an immature label")
    console.out.print(f"manifest: {made.manifest}", soft_wrap=True)


def _explain(settings: Settings, catalog: Catalog, request: TrainingRequest) -> None:
    from featmill.training.training_set import open_training_set
    from featmill.warehouse.registry import open_registry

    headings = ("view", "engine", "why", "rows", "labels", "left out first", "row index")
    table = Table(*headings, title_justify="left")
    with open_training_set(catalog, open_registry(settings.lake_dir), request) as rows:
        for choice in rows.choices:
            counts = ["" if n is None else f"{n:,}" for n in (choice.rows, choice.labels)]
            left_out = "\n".join(choice.prefilters) or "nothing"
            table.add_row(choice.view, choice.engine, choice.why, *counts, left_out, choice.index)
        for made in rows.windows:
            table.add_row(f"windows of {made.table.name}", made.engine, made.why)
    console.out.print(table)
