"""What a training set needs of dbt: a model's rows as a spine, and what the model declares of its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.contract.labels import label_of
from featmill.contract.manifest import read_manifest
from featmill.errors import BuildError, BuildLocked, SpineError
from featmill.training.spine_source import SpineSource, model_spine
from orchestration.dbt_process import DbtProcess
from orchestration.tasks import ensure_parsed

if TYPE_CHECKING:
    from featmill.contract.declarations import LabelDeclaration
    from featmill.settings import Settings


def spine_of_model(settings: Settings, name: str) -> tuple[SpineSource, LabelDeclaration | None]:
    """A dbt model as it was built last, written as Parquet by dbt, and its declared label.

    Raises:
        SpineError: there is no such model, or it was not built.
        BuildLocked: another process holds the build database.
        ContractError: what the model declares of its labels has mistakes.
    """
    ensure_parsed(settings)
    label = label_of(read_manifest(settings.manifest), name)
    path = settings.home_dir / "spines" / f"{name}.parquet"
    try:
        DbtProcess(settings).write_model(name, path)
    except BuildLocked:
        raise
    except BuildError as error:
        raise SpineError(
            f"the rows of {name} cannot be had: {error.message}",
            hint=f"build it first: dbt build --select {name}",
        ) from error
    return model_spine(name, path), label
