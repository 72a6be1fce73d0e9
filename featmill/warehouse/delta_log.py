"""The log of a local Delta table, followed: each commit is read once in a process, however often it is asked for.

Delta's commits are numbered JSON files that never change, and the tables here keep all of them. So what a table holds
is known after reading the commits that are new since the last time; opening the table with delta-rs and asking for its
history reads all of them again, which makes a backfill of n dates cost n times n.
"""

from __future__ import annotations

import json
import os
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from featmill.errors import LakeError

if TYPE_CHECKING:
    from deltalake import DeltaTable


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that a commit added: its absolute path, and its partition values by column."""

    path: str
    partition: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit: `info` is its commitInfo and what the writer put there, `schema` the schema's JSON if it changed."""

    version: int
    info: dict[str, Any]
    added: tuple[DataFile, ...]
    removed: tuple[str, ...]
    schema: str | None

    @property
    def operation(self) -> str:
        """What the writer says it did, such as WRITE."""
        return str(self.info.get("operation", "an unnamed operation"))


class DeltaLog(ABC):
    """What one process knows of one table's log. A subclass takes from each commit what it needs.

    One instance per table and process: ask `of`.
    """

    def __init__(self, location: Path) -> None:
        self.location = Path(os.path.abspath(location))  # noqa: PTH100 - links stay links
        self._lock = threading.RLock()
        self._next = 0
        self._seen: tuple[int, ...] | None = None
        self._opened: DeltaTable | None = None
        self.forget()

    @classmethod
    def of(cls, location: Path) -> Self:
        """The log of the table at this place, with every commit that is there now.

        Raises:
            LakeError: a commit cannot be read, or the subclass refuses it.
        """
        key = (cls, str(location))
        with _OPENING:
            log = _LOGS.setdefault(key, cls(location))
        if not isinstance(log, cls):
            raise LakeError(f"{location} is followed as another kind of table")
        log.follow()
        return log

    @abstractmethod
    def forget(self) -> None:
        """Begin anew: another table lies at this place now."""

    @abstractmethod
    def take(self, commit: Commit) -> None:
        """Learn from the next commit."""

    @property
    def is_table(self) -> bool:
        """Whether there is any commit."""
        return self._next > 0

    def follow(self) -> None:
        """Read the commits that are new.

        Raises:
            LakeError: a commit cannot be read, or the subclass refuses it.
        """
        with self._lock:
            if self._seen is not None and self._seen != _state(self._file(self._next - 1)):
                self._begin_anew()
            try:
                while self._read_next():
                    pass
            except LakeError:
                self._begin_anew()
                raise

    def delta_table(self) -> DeltaTable:
        """The table as delta-rs has it, opened once: what is new is read when it is asked for again.

        Raises:
            LakeError: it cannot be opened.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            if self._opened is None:
                self._opened = DeltaTable(str(self.location))
            else:
                self._opened.update_incremental()
        except (DeltaError, OSError) as error:
            self._opened = None
            raise LakeError(f"{self.location} cannot be read as a Delta table: {error}") from error
        return self._opened

    def _read_next(self) -> bool:
        path = self._file(self._next)
        state = _state(path)
        if state is None:
            self._require_whole()
            return False
        try:
            commit = _commit(self.location, self._next, path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError) as error:
            raise LakeError(f"{path} cannot be read as a Delta commit: {error}") from error
        self.take(commit)
        self._next, self._seen = self._next + 1, state
        return True

    def _require_whole(self) -> None:
        """A log whose first commits were cleaned away says nothing of the snapshots they made."""
        folder = self.location / "_delta_log"
        if self._next == 0 and folder.is_dir() and any(folder.glob("*.parquet")):
            raise LakeError(
                f"{folder} has lost its first commits, which say what the first snapshots are",
                hint="restore the folder; featmill's tables keep their whole log",
            )

    def _begin_anew(self) -> None:
        self._next, self._seen, self._opened = 0, None, None
        self.forget()

    def _file(self, version: int) -> Path:
        return self.location / "_delta_log" / f"{version:020}.json"


_LOGS: dict[tuple[type, str], DeltaLog] = {}
_OPENING = threading.Lock()


def _state(path: Path) -> tuple[int, ...] | None:
    """What tells one file from another that was put in its place; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - on a hot path
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _commit(location: Path, version: int, text: str) -> Commit:
    info: dict[str, Any] = {}
    added, removed, schema = [], [], None
    for line in text.splitlines():
        action = json.loads(line) if line else {}
        if "commitInfo" in action:
            info = action["commitInfo"]
        elif "add" in action:
            file = action["add"]
            added.append(DataFile(_path(location, file["path"]), file["partitionValues"]))
        elif "remove" in action:
            removed.append(_path(location, action["remove"]["path"]))
        elif "metaData" in action:
            schema = action["metaData"]["schemaString"]
    return Commit(version, info, tuple(added), tuple(removed), schema)


def _path(location: Path, encoded: str) -> str:
    """A path as it is on disk: the log has it percent-encoded, and relative to the table's folder."""
    return str(location / unquote(encoded))
