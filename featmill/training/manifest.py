"""The manifest of a training set: its recipe, its spine, what came of it, and what it was made with.

It stands beside the set (`<out>.manifest.json`) and holds all that is needed to make the set again: the tables'
declarations as they were, the snapshots, the mode, the cut-off and the spine's hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from featmill import clock
from featmill.contract.catalog import Fallback, FeatureRef, FeatureTable
from featmill.errors import ManifestError
from featmill.training.computed import Computed
from featmill.training.provenance import git_sha, versions
from featmill.training.request import Added, Epoch, Label, Recipe

if TYPE_CHECKING:
    from featmill.training.request import TrainingRequest
    from featmill.training.rows import TrainingRows

#: Of the manifest's own shape.
FORMAT = 2


def manifest_path(out: Path) -> Path:
    """Where the manifest of a set lies."""
    return out.with_name(out.name + ".manifest.json")


def manifest_of(
    recipe: Recipe, request: TrainingRequest, rows: TrainingRows, output: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of a set that was just written."""
    return {
        "format": FORMAT,
        "made_at": clock.now().isoformat(),
        "mode": recipe.mode,
        "windows": rows.evaluated_at,
        "service": request.service,
        "features": [str(ref) for ref in request.features],
        "time_column": recipe.time,
        "zone": recipe.zone,
        **asdict(recipe.added),
        "spine": rows.spine,
        "snapshots": {table: list(ids) for table, ids in recipe.snapshots.items()},
        "epochs": [asdict(epoch) | {"since": epoch.since.isoformat()} for epoch in recipe.epochs],
        "cut_off": recipe.cut_off.isoformat(),
        "label": _label(recipe.label, rows.labels),
        "engines": {choice.view: choice.engine for choice in rows.choices},
        "window_engines": {
            made.table.name: {
                "engine": made.engine,
                "why": made.why,
                "known_until": made.known_until.isoformat(),
                "stale_rows": made.stale,
            }
            for made in rows.windows
        },
        "tables": [table.model_dump(mode="json") for table in recipe.tables],
        "fallbacks": [fallback.model_dump(mode="json") for fallback in recipe.fallbacks],
        "hidden": [ref.model_dump(mode="json") for ref in recipe.hidden],
        "request_features": None
        if recipe.computed is None
        else recipe.computed.model_dump(mode="json"),
        "output": dict(output),
        "git_sha": git_sha(request.project),
        "project": str(request.project),
        "versions": versions(),
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest as it was written.

    Raises:
        ManifestError: it cannot be read, is none, or is of a shape that this version does not know.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read as a manifest: {error}") from error
    stated = found.get("format") if isinstance(found, dict) else None
    if stated != FORMAT:
        raise ManifestError(
            f"{path} is a manifest of format {stated}, expected {FORMAT}",
            hint="the version of featmill that made it can verify it; it says which under `versions`",
        )
    return dict(found)


def recipe_from(manifest: Mapping[str, Any], path: Path) -> Recipe:
    """The recipe that a manifest pins.

    Raises:
        ManifestError: a part of it is missing or is not what it should be.
    """
    try:
        return Recipe(
            time=manifest["time_column"],
            zone=manifest["zone"],
            tables=tuple(FeatureTable.model_validate(table) for table in manifest["tables"]),
            snapshots={table: tuple(ids) for table, ids in manifest["snapshots"].items()},
            cut_off=datetime.fromisoformat(manifest["cut_off"]),
            mode=manifest["mode"],
            epochs=tuple(_epoch(said) for said in manifest["epochs"]),
            windows="spine" if "spine" in manifest["windows"].values() else "snapshot",
            label=_label_from(manifest["label"]),
            added=Added(*(manifest[name] for name in ("status", "source_times", "value_status"))),
            computed=_computed_from(manifest),
            fallbacks=tuple(map(Fallback.model_validate, manifest.get("fallbacks", ()))),
            hidden=tuple(map(FeatureRef.model_validate, manifest.get("hidden", ()))),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(
            f"{path} is not a whole manifest: {error}", hint="it may have been edited"
        ) from error


def replace_text(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all."""
    beside = path.with_name(f".{path.name}.{uuid4().hex}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _label(label: Label | None, counts: Mapping[str, int]) -> dict[str, Any] | None:
    if label is None:
        return None
    return {
        "horizon_seconds": label.horizon.total_seconds(),
        "at": label.at,
        "immature": label.immature,
        "rows": dict(counts),
    }


def _label_from(said: Mapping[str, Any] | None) -> Label | None:
    if said is None:
        return None
    return Label(timedelta(seconds=said["horizon_seconds"]), said["at"], said["immature"])


def _computed_from(manifest: Mapping[str, Any]) -> Computed | None:
    # A manifest from before there were any does not speak of them.
    said = manifest.get("request_features")
    return None if said is None else Computed.model_validate(said)


def _epoch(said: Mapping[str, Any]) -> Epoch:
    return Epoch(
        number=said["number"],
        since=datetime.fromisoformat(said["since"]),
        release_id=said["release_id"],
        snapshots={table: tuple(ids) for table, ids in said["snapshots"].items()},
    )
