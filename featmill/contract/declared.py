"""A project's declarations as they stand, mistakes and all: what the rules judge.

Every part that can be read is here, so that one mistake never hides another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from featmill.contract.declaration_reader import read_declaration
from featmill.contract.declarations import (
    FeatureDeclaration,
    FeatureServiceDeclaration,
    FeatureTableDeclaration,
)
from featmill.contract.problems import Mistake
from featmill.contract.serving_declarations import (
    PolicyDeclaration,
    RequestFeatureDeclaration,
    SelectionDeclaration,
)
from featmill.contract.types import parse_type
from featmill.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from featmill.contract.nodes import ColumnNode, ExposureNode, Manifest, ModelNode, Place
    from featmill.contract.types import FeatureType

#: What a candidate's name starts with and its readers' name does not.
CANDIDATE_PREFIX = "feat_"

#: The materialization of a publish node.
PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class DeclaredColumn:
    """A column of a feature table. `type` is None where it is not in the type table."""

    node: ColumnNode
    declaration: FeatureDeclaration
    type: FeatureType | None
    is_key: bool
    is_time: bool
    is_feature: bool

    @property
    def name(self) -> str:
        """The column's name."""
        return self.node.name


@dataclass(frozen=True, slots=True)
class DeclaredTable:
    """A model with `meta.feature_table`, and the publish nodes that read it."""

    model: ModelNode
    declaration: FeatureTableDeclaration
    columns: tuple[DeclaredColumn, ...]
    publish_nodes: tuple[ModelNode, ...]
    selection: SelectionDeclaration | None = None

    @property
    def name(self) -> str:
        """What readers know the table by."""
        if self.publish_nodes:
            return self.publish_nodes[0].name
        return self.model.name.removeprefix(CANDIDATE_PREFIX)

    @property
    def tenant(self) -> str:
        """The tenant whose table it is."""
        return str(self.model.meta.get("tenant", "default"))

    @property
    def features(self) -> tuple[DeclaredColumn, ...]:
        """The columns that are features."""
        return tuple(column for column in self.columns if column.is_feature)

    def column(self, name: str | None) -> DeclaredColumn | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)

    def mistake(self, message: str, expected: str, *path: str | int) -> Mistake:
        """A mistake of the table, at a key of its model."""
        return Mistake(self.model.place(*path), self.model.label, message, expected)

    def column_mistake(
        self, column: DeclaredColumn, message: str, expected: str, *path: str | int
    ) -> Mistake:
        """A mistake of a column, at a key of it."""
        place = self.model.place(*path, column=column.name)
        return Mistake(place, f"{self.model.label}.{column.name}", message, expected)


@dataclass(frozen=True, slots=True)
class DeclaredService:
    """An exposure `type: ml`, with what its declaration holds mappings for."""

    exposure: ExposureNode
    declaration: FeatureServiceDeclaration
    policy: PolicyDeclaration
    request_features: Mapping[str, RequestFeatureDeclaration]

    def mistake(self, message: str, expected: str, *path: str | int) -> Mistake:
        """A mistake of the service, at a key of its exposure."""
        return Mistake(self.exposure.place(*path), self.exposure.name, message, expected)


@dataclass(frozen=True, slots=True)
class Declared:
    """Everything a project declares."""

    manifest: Manifest
    tables: tuple[DeclaredTable, ...]
    services: tuple[DeclaredService, ...]


def read_declarations(manifest: Manifest) -> tuple[Declared, list[Mistake]]:
    """Read every declaration, and what is wrong with its keys and the shapes of their values."""
    mistakes: list[Mistake] = []
    publishers = _publishers(manifest)
    tables = tuple(
        _table(model, tuple(publishers.get(model.unique_id, ())), mistakes.append)
        # In the order of files, so that of two that disagree it is always the same one that does.
        for model in sorted(manifest.models.values(), key=lambda m: (m.file, m.unique_id))
        if "feature_table" in model.meta
    )
    services = tuple(
        _service(exposure, mistakes.append)
        for exposure in manifest.exposures
        if exposure.type == "ml"
    )
    return Declared(manifest, tables, services), mistakes


def candidate_of(publish_node: ModelNode, manifest: Manifest) -> ModelNode | None:
    """The feature table that a publish node publishes: its one parent that is a feature table.

    Where it waits for others too (`-- depends_on`), the one it is named for; None where there is no telling.
    """
    read = (manifest.models.get(parent) for parent in publish_node.parents)
    tables = [model for model in read if model and "feature_table" in model.meta]
    named = [model for model in tables if model.name == f"feat_{publish_node.name}"]
    found = named or tables
    return found[0] if len(found) == 1 else None


def _publishers(manifest: Manifest) -> dict[str, list[ModelNode]]:
    found: dict[str, list[ModelNode]] = {}
    for model in manifest.models.values():
        if model.materialized == PUBLISHED:
            candidate = candidate_of(model, manifest)
            if candidate is not None:
                found.setdefault(candidate.unique_id, []).append(model)
    return found


def _table(
    model: ModelNode, publish_nodes: tuple[ModelNode, ...], report: Callable[[Mistake], None]
) -> DeclaredTable:
    raw = model.meta["feature_table"]
    place = model.place("config", "meta", "feature_table")
    declaration, found = read_declaration(FeatureTableDeclaration, raw, place, model.label)
    for mistake in found:
        report(mistake)
    # Without keys or time no column can be told to be a feature, unless it says so itself.
    has_roles = bool(declaration.join_keys) and model.event_time is not None
    columns = tuple(
        _column(column, model, declaration, has_roles, report) for column in model.columns
    )
    selection = None
    if declaration.selection is not None:
        there = model.place("config", "meta", "feature_table", "selection")
        raw = declaration.selection
        selection, found = read_declaration(SelectionDeclaration, raw, there, model.label)
        for mistake in found:
            report(mistake)
    return DeclaredTable(model, declaration, columns, publish_nodes, selection)


def _column(
    column: ColumnNode,
    model: ModelNode,
    table: FeatureTableDeclaration,
    has_roles: bool,
    report: Callable[[Mistake], None],
) -> DeclaredColumn:
    place = model.place("config", "meta", "feature", column=column.name)
    subject = f"{model.label}.{column.name}"
    raw = column.meta.get("feature", {})
    declaration, found = read_declaration(FeatureDeclaration, raw, place, subject)
    for mistake in found:
        report(mistake)
    is_key = column.name in table.join_keys
    is_time = column.name == model.event_time
    says_so = has_roles or "feature" in column.meta
    return DeclaredColumn(
        node=column,
        declaration=declaration,
        type=_type(column, declaration),
        is_key=is_key,
        is_time=is_time,
        is_feature=says_so and not (is_key or is_time or declaration.exclude),
    )


def _type(column: ColumnNode, declaration: FeatureDeclaration) -> FeatureType | None:
    if column.data_type is None:
        return None
    try:
        return parse_type(column.data_type).stored_as(declaration.online_type)
    except ContractError:
        return None


def _service(exposure: ExposureNode, report: Callable[[Mistake], None]) -> DeclaredService:
    place = exposure.place("config", "meta", "feature_service")
    raw = exposure.meta.get("feature_service", {})
    declaration, found = read_declaration(FeatureServiceDeclaration, raw, place, exposure.name)
    for mistake in found:
        report(mistake)
    policy, found = read_declaration(
        PolicyDeclaration, declaration.policy or {}, _below(place, "policy"), exposure.name
    )
    for mistake in found:
        report(mistake)
    request_features = {}
    for name, written in declaration.request_features.items():
        there = _below(place, "request_features", name)
        subject = f"{exposure.name}.{name}"
        feature, found = read_declaration(RequestFeatureDeclaration, written, there, subject)
        for mistake in found:
            report(mistake)
        request_features[name] = feature
    return DeclaredService(exposure, declaration, policy, request_features)


def _below(place: Place, *keys: str) -> Place:
    return replace(place, path=(*place.path, *keys))
