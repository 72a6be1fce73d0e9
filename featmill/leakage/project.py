"""A built dbt project as the checks see it: sources that can be altered, models with their compiled SQL, labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from featmill.errors import ContractError

#: The macro that makes training sets: what its models read beside published tables is labels.
_POINT_IN_TIME = "macro.featmill.point_in_time"


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A dbt source table. `event_at` and `loaded_at` are SQL expressions over it, None where none is declared."""

    unique_id: str
    name: str
    identifier: str
    relation: str
    event_at: str | None
    loaded_at: str | None
    is_label: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A dbt model: its relation, and its compiled SQL (empty where dbt compiled none)."""

    unique_id: str
    name: str
    package: str
    file: str
    relation: str
    parents: tuple[str, ...]
    sql: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    materialized: str = "view"
    macros: tuple[str, ...] = ()

    @property
    def feature_table(self) -> Mapping[str, Any] | None:
        """Its `config.meta.feature_table`, if it declares one."""
        found = self.meta.get("feature_table")
        return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class Project:
    """The enabled models, sources and seeds of a project and its packages, by unique id."""

    models: Mapping[str, Model]
    sources: Mapping[str, SourceTable]
    seeds: Mapping[str, Model]

    @cached_property
    def candidates(self) -> tuple[Model, ...]:
        """The feature tables, before they are published."""
        found = [model for model in self.models.values() if model.feature_table is not None]
        return tuple(sorted(found, key=lambda model: model.name))

    def behind(self, tables: Iterable[Model]) -> list[Model]:
        """These feature tables and every model that they descend from, each once, children first."""
        seen: dict[str, Model] = {}
        queue = list(tables)
        for model in queue:  # grows while it is walked
            if model.unique_id not in seen:
                seen[model.unique_id] = model
                queue.extend(self.models[p] for p in model.parents if p in self.models)
        return list(seen.values())

    def sources_behind(self, tables: Iterable[Model]) -> list[SourceTable]:
        """The source tables that these feature tables descend from, by name."""
        parents = {parent for model in self.behind(tables) for parent in model.parents}
        return sorted((s for u, s in self.sources.items() if u in parents), key=lambda s: s.name)

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Unique id -> why it holds labels: the spine of a training set, or declared `meta: {label: true}`."""
        found = {u: "its source declares meta.label" for u, s in self.sources.items() if s.is_label}
        for unique_id, node in {**self.models, **self.seeds}.items():
            if node.meta.get("label"):
                found[unique_id] = "it declares meta.label"
        for model in self.models.values():
            if _POINT_IN_TIME not in model.macros:
                continue
            for parent in model.parents:
                read = self.models.get(parent) or self.seeds.get(parent)
                if read is not None and read.materialized != "published":
                    found.setdefault(parent, f"{model.name} trains on it")
        return found


def read_project(manifest: Path, compiled: Path) -> Project:
    """The project of a manifest, with what dbt compiled below `compiled` (`target/compiled`).

    Raises:
        ContractError: the manifest is missing or is none.
    """
    try:
        raw = json.loads(manifest.read_bytes())
        nodes: dict[str, Any] = raw["nodes"]
        sources: dict[str, Any] = raw["sources"]
    except (OSError, ValueError, KeyError) as error:
        raise ContractError(f"{manifest} cannot be read as dbt's manifest: {error}") from error
    enabled = {u: n for u, n in nodes.items() if n["config"].get("enabled", True)}
    read = {u: _model(n, compiled) for u, n in enabled.items()}
    return Project(
        models={u: m for u, m in read.items() if enabled[u]["resource_type"] == "model"},
        seeds={u: m for u, m in read.items() if enabled[u]["resource_type"] == "seed"},
        sources={u: _source(s) for u, s in sources.items() if s["config"].get("enabled", True)},
    )


def _model(node: dict[str, Any], compiled: Path) -> Model:
    path = compiled / node["package_name"] / node["original_file_path"]
    return Model(
        unique_id=node["unique_id"],
        name=node["name"],
        package=node["package_name"],
        file=node["original_file_path"],
        relation=node.get("relation_name") or "",
        parents=tuple((node.get("depends_on") or {}).get("nodes") or ()),
        sql=path.read_text(encoding="utf-8") if path.suffix == ".sql" and path.is_file() else "",
        meta=node["config"].get("meta") or {},
        columns=tuple(node.get("columns") or ()),
        materialized=str(node["config"].get("materialized") or "view"),
        macros=tuple((node.get("depends_on") or {}).get("macros") or ()),
    )


def _source(node: dict[str, Any]) -> SourceTable:
    config = node.get("config") or {}
    meta = {**(node.get("source_meta") or {}), **(config.get("meta") or {})}
    return SourceTable(
        unique_id=node["unique_id"],
        name=f"{node['source_name']}.{node['name']}",
        identifier=node["name"],
        relation=node.get("relation_name") or "",
        event_at=config.get("event_time"),
        loaded_at=node.get("loaded_at_field") or config.get("loaded_at_field"),
        is_label=bool(meta.get("label")),
    )
