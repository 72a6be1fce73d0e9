"""Notes of builds that came to nothing: a failed gate leaves no trace in the lake, and people ask what happened.

One small file per as_of, written when a release is held back and removed when one is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from featmill.errors import LakeError
from featmill.warehouse.identity import compact


@dataclass(frozen=True, slots=True)
class Attempt:
    """The newest build at an as_of, which failed: feature table -> the nodes and tests it failed by."""

    as_of: datetime
    failed: Mapping[str, str]


class Attempts:
    """The notes beside one lake's registry."""

    def __init__(self, lake_root: Path) -> None:
        self.location = lake_root / "_registry" / "failed"

    def note(self, attempt: Attempt) -> None:
        """Write the note of an as_of; the one before it is replaced.

        Raises:
            LakeError: it could not be written.
        """
        path = self._path(attempt.as_of)
        beside = path.with_suffix(".new")
        text = {"as_of": attempt.as_of.isoformat(), "failed": dict(attempt.failed)}
        try:
            self.location.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(text, sort_keys=True), encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            raise LakeError(f"{path} could not be written: {error}") from error

    def clear(self, as_of: datetime) -> None:
        """A release was made there after all."""
        self._path(as_of).unlink(missing_ok=True)

    def all(self) -> dict[datetime, Attempt]:
        """Every note.

        Raises:
            LakeError: one cannot be read.
        """
        found = {}
        for path in sorted(self.location.glob("*.json")):
            try:
                said = json.loads(path.read_text(encoding="utf-8"))
                attempt = Attempt(datetime.fromisoformat(said["as_of"]), said["failed"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise LakeError(
                    f"{path} is no note of a failed build: {error}",
                    hint="remove it; it is only a note",
                ) from error
            found[attempt.as_of] = attempt
        return found

    def _path(self, as_of: datetime) -> Path:
        return self.location / f"{compact(as_of)}.json"
