"""What of dbt's manifest the contract reads: each kind of node, with only what is used of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is declared: an entry of a yml file, and a path of keys below it.

    `file` is relative to the package's folder. `path` may lead further than what is written there:
    a missing key is reported where it should have been.
    """

    package: str
    file: str
    section: str
    name: str
    version: str | None = None
    column: str | None = None
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnNode:
    """A column of a model, as its yml declares it."""

    name: str
    data_type: str | None
    description: str
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelNode:
    """An enabled model. `file` is its yml where it has one, else its SQL."""

    unique_id: str
    name: str
    package: str
    file: str
    version: str | None
    is_latest: bool
    description: str
    owner: str | None
    access: str
    materialized: str
    event_time: str | None
    is_contract_enforced: bool
    config: Mapping[str, Any]
    tags: tuple[str, ...]
    columns: tuple[ColumnNode, ...]
    parents: tuple[str, ...]

    @property
    def meta(self) -> Mapping[str, Any]:
        """The model's `config.meta`."""
        return self.config.get("meta") or {}

    @property
    def label(self) -> str:
        """The model's name, with its version where it has one."""
        return self.name if self.version is None else f"{self.name}.v{self.version}"

    def place(self, *path: str | int, column: str | None = None) -> Place:
        """Where a key of the model, or of one of its columns, is declared."""
        return Place(self.package, self.file, "models", self.name, self.version, column, path)


@dataclass(frozen=True, slots=True)
class DataTestNode:
    """An enabled data test."""

    unique_id: str
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceNode:
    """A source table; its name is `source.table`."""

    unique_id: str
    name: str
    loaded_at: str | None


@dataclass(frozen=True, slots=True)
class ExposureNode:
    """An enabled exposure."""

    unique_id: str
    name: str
    package: str
    file: str
    type: str
    description: str
    owner: str | None
    meta: Mapping[str, Any]
    parents: tuple[str, ...]

    def place(self, *path: str | int) -> Place:
        """Where a key of the exposure is declared."""
        return Place(self.package, self.file, "exposures", self.name, path=path)


@dataclass(frozen=True)
class Manifest:
    """The nodes of a dbt project and of its packages, by unique id."""

    project: str
    models: Mapping[str, ModelNode]
    tests: tuple[DataTestNode, ...]
    sources: Mapping[str, SourceNode]
    exposures: tuple[ExposureNode, ...]
    parents: Mapping[str, tuple[str, ...]]

    @cached_property
    def tests_of(self) -> Mapping[str, tuple[DataTestNode, ...]]:
        """The data tests that read a node, by the node's unique id."""
        found: dict[str, list[DataTestNode]] = {}
        for test in self.tests:
            for parent in dict.fromkeys(test.parents):
                found.setdefault(parent, []).append(test)
        return {unique_id: tuple(tests) for unique_id, tests in found.items()}

    def ancestors(self, unique_id: str) -> Iterator[str]:
        """The unique ids a node descends from, nearest first, each once."""
        queue = list(self.parents.get(unique_id, ()))
        seen: set[str] = set()
        for ancestor in queue:
            if ancestor not in seen:
                seen.add(ancestor)
                yield ancestor
                queue.extend(self.parents.get(ancestor, ()))
