"""Which snapshots the training sets that were written stand on: retention keeps these (rules 9 and 22).

One small JSON file for each set, named by where its manifest lies. A set that is made again at the same place takes
the place of the one before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from featmill.errors import LakeError, UsageError

if TYPE_CHECKING:
    from featmill.warehouse.lake import Lake


@dataclass(frozen=True, slots=True)
class TrainingPin:
    """A training set's manifest and the snapshots it names: table -> snapshot ids."""

    manifest: str
    made_at: datetime
    snapshots: Mapping[str, Sequence[str]]


def pin(lake: Lake, made: TrainingPin) -> None:
    """Remember a training set.

    Raises:
        LakeError: it could not be written.
    """
    path = _path(lake, Path(made.manifest))
    said = {
        "manifest": made.manifest,
        "made_at": made.made_at.isoformat(),
        "snapshots": {table: list(ids) for table, ids in made.snapshots.items()},
    }
    beside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise LakeError(f"{path} could not be written: {error.strerror or error}") from error


def pins(lake: Lake) -> list[TrainingPin]:
    """Every training set that is remembered, by its manifest's path.

    Raises:
        LakeError: one cannot be read: what it needs is not known, so nothing may be removed.
    """
    found = []
    for path in sorted(_folder(lake).glob("*.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            made_at = datetime.fromisoformat(said["made_at"])
            found.append(TrainingPin(said["manifest"], made_at, dict(said["snapshots"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LakeError(
                f"{path} cannot be read as a training set's pin: {error}",
                hint="restore it; or remove it if that training set is not needed any more",
            ) from error
    return sorted(found, key=lambda one: one.manifest)


def forget(lake: Lake, manifest: Path) -> None:
    """Let retention have what a training set stands on.

    Raises:
        UsageError: no training set with this manifest is remembered.
    """
    path = _path(lake, manifest)
    if not path.is_file():
        known = ", ".join(one.manifest for one in pins(lake)) or "none"
        raise UsageError(f"no training set has the manifest {manifest}", hint=f"known: {known}")
    path.unlink()


def _path(lake: Lake, manifest: Path) -> Path:
    name = hashlib.sha256(str(manifest.resolve()).encode()).hexdigest()[:24]
    return _folder(lake) / f"{name}.json"


def _folder(lake: Lake) -> Path:
    return lake.root / "_registry" / "training"
