"""dbt's manifest, read into the contract. No other module knows what a manifest looks like."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmill.contract.declared import read_declarations
from featmill.contract.derive import derive
from featmill.contract.nodes import (
    ColumnNode,
    DataTestNode,
    ExposureNode,
    Manifest,
    ModelNode,
    SourceNode,
)
from featmill.contract.problems import Problem, locate
from featmill.contract.rules import judge
from featmill.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from featmill.contract.catalog import Catalog

__all__ = ["Examination", "check", "examine", "load", "read_manifest"]

#: The manifest schema of dbt-core 1.8 to 1.11.
SUPPORTED_SCHEMA = "v12"

_SCHEMA = re.compile(r"manifest/(v\d+)\.json$")


@dataclass(frozen=True, slots=True)
class Examination:
    """What a manifest declares: the catalogue, or None and why not."""

    catalog: Catalog | None
    problems: tuple[Problem, ...]


def load(path: Path, project_dir: Path | None = None) -> Catalog:
    """Read the catalogue of a project from its manifest.

    Args:
        path: dbt's `target/manifest.json`.
        project_dir: the project, for the lines of its mistakes; by default two folders above.

    Raises:
        ContractError: there is no manifest, it cannot be read, or the project's declarations
            contradict the contract; then the message lists every mistake.
    """
    found = examine(path, path.parent.parent if project_dir is None else project_dir)
    if found.catalog is None:
        count = len(found.problems)
        listed = "\n".join(str(problem) for problem in found.problems)
        raise ContractError(
            f"the project declares {count} mistake{'' if count == 1 else 's'}:\n{listed}",
            hint="correct them, then run dbt parse; featmill check lists them again",
        )
    return found.catalog


def check(manifest_path: Path, project_dir: Path) -> list[Problem]:
    """Every mistake in a project's declarations, by file and line.

    Raises:
        ContractError: there is no manifest, or it cannot be read.
    """
    return list(examine(manifest_path, project_dir).problems)


def examine(manifest_path: Path, project_dir: Path) -> Examination:
    """Judge a project's declarations once, for whoever wants the catalogue or the mistakes.

    Raises:
        ContractError: there is no manifest, or it cannot be read.
    """
    manifest = read_manifest(manifest_path)
    declared, mistakes = read_declarations(manifest)
    mistakes = [*mistakes, *judge(declared)]
    if mistakes:
        return Examination(None, tuple(locate(mistakes, manifest.project, project_dir)))
    return Examination(derive(declared), ())


def read_manifest(path: Path) -> Manifest:
    """Read the enabled nodes of a manifest.

    Raises:
        ContractError: it is missing, is not a manifest, or has a schema of another dbt.
    """
    raw = _read_json(path)
    nodes: dict[str, Any] = {k: n for k, n in raw["nodes"].items() if _is_enabled(n)}
    sources: dict[str, Any] = {k: s for k, s in raw["sources"].items() if _is_enabled(s)}
    owners = {
        (group["package_name"], group["name"]): _owner(group)
        for group in (raw.get("groups") or {}).values()
    }
    return Manifest(
        project=raw["metadata"]["project_name"],
        models={k: _model(n, owners) for k, n in nodes.items() if n["resource_type"] == "model"},
        tests=tuple(
            DataTestNode(k, _parents(n)) for k, n in nodes.items() if n["resource_type"] == "test"
        ),
        sources={k: _source(s) for k, s in sources.items()},
        exposures=tuple(_exposures(raw.get("exposures") or {})),
        parents={k: _parents(n) for k, n in nodes.items()},
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
        schema = raw["metadata"]["dbt_schema_version"]
    except FileNotFoundError as error:
        raise ContractError(f"there is no manifest at {path}", hint="run dbt parse") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError(f"{path} is not a dbt manifest", hint="run dbt parse") from error
    version = _SCHEMA.search(str(schema))
    if version is None or version[1] != SUPPORTED_SCHEMA:
        raise ContractError(
            f"{path} was written by dbt {raw['metadata'].get('dbt_version', 'of another kind')} in "
            f"the schema {schema}; expected {SUPPORTED_SCHEMA}",
            hint="run dbt parse with dbt-core 1.11",
        )
    return dict(raw)


def _model(node: Mapping[str, Any], owners: Mapping[tuple[str, str], str | None]) -> ModelNode:
    config = node["config"]
    version = node.get("version")
    patch = str(node.get("patch_path") or "")
    return ModelNode(
        unique_id=node["unique_id"],
        name=node["name"],
        package=patch.partition("://")[0] or node["package_name"],
        file=patch.partition("://")[2] or node["original_file_path"],
        version=None if version is None else str(version),
        is_latest=version is None or str(version) == str(node.get("latest_version")),
        description=str(node.get("description") or "").strip(),
        owner=_group_owner(node, owners),
        access=str(node.get("access") or config.get("access") or "protected"),
        materialized=str(config.get("materialized")),
        event_time=config.get("event_time"),
        is_contract_enforced=bool((config.get("contract") or {}).get("enforced")),
        config=config,
        tags=tuple(node.get("tags") or ()),
        columns=tuple(_column(column) for column in (node.get("columns") or {}).values()),
        parents=_parents(node),
    )


def _column(column: Mapping[str, Any]) -> ColumnNode:
    return ColumnNode(
        name=column["name"],
        data_type=column.get("data_type"),
        description=str(column.get("description") or "").strip(),
        meta=_meta(column),
    )


def _source(source: Mapping[str, Any]) -> SourceNode:
    return SourceNode(
        unique_id=source["unique_id"],
        name=f"{source['source_name']}.{source['name']}",
        loaded_at=source.get("loaded_at_field"),
    )


def _exposures(exposures: Mapping[str, Any]) -> Iterator[ExposureNode]:
    for unique_id, exposure in exposures.items():
        if _is_enabled(exposure):
            yield ExposureNode(
                unique_id=unique_id,
                name=exposure["name"],
                package=exposure["package_name"],
                file=exposure["original_file_path"],
                type=str(exposure.get("type")),
                description=str(exposure.get("description") or "").strip(),
                owner=_owner(exposure),
                meta=_meta(exposure),
                parents=_parents(exposure),
            )


def _is_enabled(node: Mapping[str, Any]) -> bool:
    return (node.get("config") or {}).get("enabled") is not False


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return (node.get("config") or {}).get("meta") or node.get("meta") or {}


def _parents(node: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple((node.get("depends_on") or {}).get("nodes") or ())


def _owner(declaring: Mapping[str, Any]) -> str | None:
    """The name of a group's or an exposure's owner, else the mail address, of several the first."""
    owner = declaring.get("owner") or {}
    mail = owner.get("email")
    found = owner.get("name") or (mail[0] if isinstance(mail, list) and mail else mail)
    return str(found) if found else None


def _group_owner(
    node: Mapping[str, Any], owners: Mapping[tuple[str, str], str | None]
) -> str | None:
    """A group is the node's own package's; dbt also lets a model join one of another package."""
    name = node["config"].get("group") or node.get("group")
    ours_first = sorted(owners.items(), key=lambda item: item[0][0] != node["package_name"])
    return next((owner for (_, group), owner in ours_first if group == name), None)
