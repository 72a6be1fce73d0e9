"""`feast apply` in this process: Feast's registry then holds what the repository declares."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from exporters.feast.render import REGISTRY_FILE
from exporters.feast.repository import DEFINITIONS_FILE, SETTINGS_FILE, locked, repository_folder
from exporters.feast.session import quiet_feast

if TYPE_CHECKING:
    from featmill.settings import Settings


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """The names that Feast's registry holds now, sorted."""

    entities: tuple[str, ...]
    views: tuple[str, ...]
    services: tuple[str, ...]


def apply(settings: Settings, *, tenant: str = "default") -> ApplyResult:
    """Apply a tenant's repositories; what they do not declare any more is deleted from their registries.

    A registry changes in one step: Feast rewrites its file in place, so it is given a copy, which
    then replaces the registry whole. Online data is not touched.

    Raises:
        UsageError: Feast is not installed, or the repository has not been written.
        ContractError: Feast refused what a repository declares; its registry stays as it was.
        SettingError: a folder cannot be written.
    """
    result = _apply_folder(repository_folder(settings, tenant))
    _apply_folder(repository_folder(settings, tenant, is_stock=True))
    return result


def _apply_folder(folder: Path) -> ApplyResult:
    with quiet_feast(folder), locked(folder):
        registry = folder / REGISTRY_FILE
        beside = folder / f".{REGISTRY_FILE}.{uuid4().hex}"
        try:
            if registry.exists() and _is_of_project(registry, folder / SETTINGS_FILE):
                shutil.copyfile(registry, beside)
            result = _apply(folder, beside)
            beside.replace(registry)
        finally:
            beside.unlink(missing_ok=True)
    return result


def _is_of_project(registry: Path, settings: Path) -> bool:
    """Whether it holds this project and no other; what a generation declared that is gone would stay for ever."""
    from feast.protos.feast.core.Registry_pb2 import Registry
    from ruamel.yaml import YAML

    held = {project.spec.name for project in Registry.FromString(registry.read_bytes()).projects}
    return held <= {YAML(typ="safe").load(settings.read_text(encoding="utf-8"))["project"]}


def _apply(folder: Path, registry: Path) -> ApplyResult:
    from feast import FeatureStore
    from feast.feature_view import DUMMY_ENTITY_NAME
    from feast.repo_config import load_repo_config
    from feast.repo_operations import extract_objects_for_apply_delete

    config = load_repo_config(folder, folder / SETTINGS_FILE)
    config.registry_config = str(registry)
    store = FeatureStore(config=config)
    declared = _load(folder / DEFINITIONS_FILE)
    changed, gone, _, _ = extract_objects_for_apply_delete(config.project, store.registry, declared)
    store.apply(changed, objects_to_delete=gone, partial=False)
    return ApplyResult(
        entities=_names(e for e in declared.entities if e.name != DUMMY_ENTITY_NAME),
        views=_names(declared.feature_views),
        services=_names(declared.feature_services),
    )


def _load(definitions: Path) -> Any:  # noqa: ANN401 - Feast's RepoContents, which is not typed
    """What the definitions declare. Run, not imported: a second apply must see a new file."""
    from feast import Entity, FeatureService, FeatureView, Project
    from feast.data_source import DataSource
    from feast.feature_view import DUMMY_ENTITY
    from feast.repo_contents import RepoContents

    objects = runpy.run_path(str(definitions)).values()

    def of(kind: type) -> list[Any]:
        return [found for found in objects if isinstance(found, kind)]

    return RepoContents(
        projects=of(Project),
        data_sources=of(DataSource),
        entities=[*of(Entity), DUMMY_ENTITY],
        feature_views=of(FeatureView),
        on_demand_feature_views=[],
        stream_feature_views=[],
        label_views=[],
        feature_services=of(FeatureService),
        permissions=[],
    )


def _names(objects: Iterable[Any]) -> tuple[str, ...]:
    return tuple(sorted(found.name for found in objects))
