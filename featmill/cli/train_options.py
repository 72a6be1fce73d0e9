"""The options of `featmill train`: so many that the command could not be read among them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class AsOf(StrEnum):
    """What a row may know: what is known of its moment now, or what production answered then."""

    event = "event"
    served = "served"


class Windows(StrEnum):
    """Where windows are evaluated: in the newest visible row, or at each row's own time."""

    snapshot = "snapshot"
    spine = "spine"


class Immature(StrEnum):
    """What becomes of rows whose label is not mature."""

    refuse = "refuse"
    drop = "drop"


SpinePath = Annotated[
    Path | None, typer.Argument(help="The rows to make features for: a .parquet or .csv file.")
]
TimeColumn = Annotated[str | None, typer.Option(help="The spine's column with each row's moment.")]
Out = Annotated[
    Path | None, typer.Option(help="The .parquet file to write; its manifest is written beside it.")
]
Sql = Annotated[
    str | None, typer.Option(help="The spine as a SELECT over the features database and files.")
]
Model = Annotated[str | None, typer.Option(help="The spine as a dbt model, as it was built last.")]
Service = Annotated[str | None, typer.Option(help="A feature service: a dbt exposure of type ml.")]
Features = Annotated[
    str | None, typer.Option(help="view:feature,... instead of, or beside, a service.")
]
Zone = Annotated[
    str | None, typer.Option(help="The zone of a time column that has none, such as UTC.")
]
Status = Annotated[bool, typer.Option(help="Add view__status: what each lookup found.")]
SourceTimes = Annotated[bool, typer.Option(help="Add the event time of each row that was found.")]
ValueStatus = Annotated[
    bool, typer.Option(help="Add view__feature__status: ok, default, expired or missing.")
]
AsOfMode = Annotated[
    AsOf, typer.Option(help="What is known of a row's moment now, or what was served then.")
]
WindowsAt = Annotated[
    Windows, typer.Option(help="Windows of the newest visible row, or at each row's time.")
]
SnapshotId = Annotated[
    str | None, typer.Option(help="Read the registry as it was at this release or snapshot.")
]
At = Annotated[str | None, typer.Option(help="Read the registry as it was at this moment.")]
LabelHorizon = Annotated[
    str | None, typer.Option(help="How long after its time a label is known, such as 30d.")
]
LabelAt = Annotated[
    str | None, typer.Option(help="The column the horizon begins at; default the row's time.")
]
WhenImmature = Annotated[
    Immature, typer.Option(help="What becomes of rows whose label is not mature.")
]
Engine = Annotated[str, typer.Option(help="How to join; auto lets statistics decide.")]
Memory = Annotated[str, typer.Option(help="What DuckDB may keep in memory before it spills.")]
Explain = Annotated[
    bool, typer.Option(help="Write nothing; say how each table would be joined, and why.")
]
