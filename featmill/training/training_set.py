"""Build a training set: the spine joined to released snapshots as they stood at each row's moment (rules 12 to 17).

request -> recipe (pins the snapshots) -> spine, checked -> views -> plan -> rows -> file or frame -> manifest
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featmill import clock
from featmill.training.manifest import manifest_of, manifest_path, replace_text
from featmill.training.output import check_out, content_of, to_frame, write_parquet
from featmill.training.recipe import all_snapshots, recipe_of
from featmill.training.request import Label, TrainingRequest
from featmill.training.rows import TrainingRows, training_rows
from featmill.training.spine_source import spine_source
from featmill.warehouse.training_pins import TrainingPin, pin

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog
    from featmill.warehouse.registry import Registry

__all__ = [
    "Label",
    "TrainingRequest",
    "TrainingSet",
    "build_training_set",
    "open_training_set",
    "training_frame",
]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What was written: the Parquet file, its manifest, and how many rows and columns it has.

    `labels` counts the rows whose label is mature and not, where a horizon was given.
    """

    path: Path
    manifest: Path
    rows: int
    columns: tuple[str, ...]
    labels: dict[str, int]


def build_training_set(
    catalog: Catalog, registry: Registry, request: TrainingRequest
) -> TrainingSet:
    """Write the training set and, beside it, its manifest (`<out>.manifest.json`).

    The output has exactly the spine's rows, columns and order, then a `view__feature` column for each feature.

    Raises:
        SpineError: the spine lacks a column, has NULLs, immature labels or a key of another kind.
        NoRelease: a wanted table has never been released.
        LakeError: what is released cannot be read, or no snapshot of it has a wanted feature.
        UsageError: a view or feature does not exist, the output is not a `.parquet` path or cannot be written.
    """
    out = check_out(request.out)
    recipe = recipe_of(catalog, registry, request)
    with training_rows(recipe, registry.lake, spine_source(request.spine)) as rows:
        columns = rows.columns
        write_parquet(rows.reader, out)
    count, content = content_of(out, columns)
    output = {"path": str(out), "rows": count, "columns": columns, "content_sha256": content}
    manifest = manifest_of(recipe, request, rows, output)
    replace_text(manifest_path(out), json.dumps(manifest, indent=2) + "\n")
    named = {table: tuple(ids) for table, ids in all_snapshots(recipe).items()}
    pin(registry.lake, TrainingPin(str(manifest_path(out).resolve()), clock.now(), named))
    return TrainingSet(out, manifest_path(out), count, tuple(columns), rows.labels)


@contextmanager
def open_training_set(
    catalog: Catalog, registry: Registry, request: TrainingRequest
) -> Iterator[TrainingRows]:
    """The same rows, streamed: `reader` is a pyarrow.RecordBatchReader, to be read inside the block.

    Nothing is written; raises as `build_training_set`.
    """
    recipe = recipe_of(catalog, registry, request)
    with training_rows(recipe, registry.lake, spine_source(request.spine)) as rows:
        yield rows


def training_frame(
    catalog: Catalog, registry: Registry, request: TrainingRequest, kind: str = "arrow"
) -> Any:  # noqa: ANN401 - as many types as kinds
    """The same rows in memory: `arrow` (a pyarrow.Table), `pandas` or `polars`; raises as `build_training_set`."""
    with open_training_set(catalog, registry, request) as rows:
        return to_frame(rows.reader, kind)
