"""Small manifests, sound unless a test breaks them; `test_project.py` has dbt's own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featmill.contract.catalog import Catalog
from featmill.contract.manifest import check, load

SCHEMA = "https://schemas.getdbt.com/dbt/manifest/v12.json"
PACKAGE = "shop"


def column(name: str, data_type: str | None, feature: Any = None, **also: Any) -> dict[str, Any]:
    meta = {} if feature is None else {"feature": feature}
    described = {"name": name, "data_type": data_type, "description": f"The {name}."}
    return {**described, "config": {"meta": meta}, **also}


def feature_table(name: str, *features: dict[str, Any], **declared: Any) -> dict[str, Any]:
    """A model with `meta.feature_table`; `declared` overrides its keys."""
    columns = [
        column("user_id", "bigint"),
        column("feature_at", "timestamp"),
        *(features or [column("buys_7d", "bigint", window("count", "7d"))]),
    ]
    table = {"entity": "user", "join_keys": ["user_id"], "ttl": "3d", "online": True, **declared}
    return model(name, columns, {"feature_table": table})


def window(aggregate: str, length: str, **also: Any) -> dict[str, Any]:
    return {"aggregate": aggregate, "window": length, "default": 0, **also}


def model(
    name: str,
    columns: Iterable[dict[str, Any]] = (),
    meta: dict[str, Any] | None = None,
    reads: Iterable[str] = (),
    **config: Any,
) -> dict[str, Any]:
    return {
        "unique_id": f"model.{PACKAGE}.{name}",
        "name": name,
        "resource_type": "model",
        "package_name": PACKAGE,
        "original_file_path": f"models/{name}.sql",
        "patch_path": f"{PACKAGE}://models/{name}.yml",
        "description": f"The {name}.",
        "access": "protected",
        "tags": [],
        "columns": {c["name"]: c for c in columns},
        "depends_on": {"nodes": [node_id(parent) for parent in reads]},
        "config": {
            "enabled": True,
            "materialized": "table",
            "event_time": "feature_at",
            "contract": {"enforced": True},
            "meta": meta or {},
            **config,
        },
    }


def publish_node(name: str, *reads: str, **changed: Any) -> dict[str, Any]:
    return {**model(name, reads=reads, materialized="published"), **changed}


def exposure(name: str, *reads: str, features: Any = None, **changed: Any) -> dict[str, Any]:
    meta = {} if features is None else {"feature_service": {"features": features}}
    return {
        "name": name,
        "type": "ml",
        "package_name": PACKAGE,
        "original_file_path": "models/exposures.yml",
        "description": "",
        "owner": {"name": "Ada", "email": "ada@example.com"},
        "config": {"enabled": True, "meta": meta},
        "depends_on": {"nodes": [node_id(parent) for parent in reads]},
        **changed,
    }


def node_id(name: str) -> str:
    return name if "." in name else f"model.{PACKAGE}.{name}"


@dataclass
class Project:
    """A project without files: its mistakes are all on line 1."""

    folder: Path
    models: list[dict[str, Any]]
    exposures: list[dict[str, Any]] = field(default_factory=list)
    sources: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Any] = field(default_factory=dict)
    tests: list[tuple[str, ...]] | None = None
    schema: str = SCHEMA
    name: str = PACKAGE

    @property
    def table(self) -> dict[str, Any]:
        """The first model's `feature_table`."""
        return dict_of(self.models[0]["config"]["meta"]["feature_table"])

    @property
    def config(self) -> dict[str, Any]:
        return dict_of(self.models[0]["config"])

    @property
    def columns(self) -> dict[str, dict[str, Any]]:
        return dict_of(self.models[0]["columns"])

    @property
    def manifest(self) -> Path:
        return self.folder / "target" / "manifest.json"

    def write(self) -> Path:
        nodes = {node["unique_id"]: node for node in self.models}
        for number, reads in enumerate(self._tests()):
            nodes[f"test.{PACKAGE}.t{number}"] = {
                "unique_id": f"test.{PACKAGE}.t{number}",
                "resource_type": "test",
                "config": {"enabled": True},
                "depends_on": {"nodes": [node_id(parent) for parent in reads]},
            }
        raw = {
            "metadata": {"dbt_schema_version": self.schema, "project_name": self.name},
            "nodes": nodes,
            "sources": self.sources,
            "exposures": {f"exposure.{PACKAGE}.{e['name']}": e for e in self.exposures},
            "groups": self.groups,
        }
        self.manifest.parent.mkdir(exist_ok=True)
        self.manifest.write_text(json.dumps(raw), encoding="utf-8")
        return self.manifest

    def load(self) -> Catalog:
        return load(self.write())

    def mistakes(self) -> list[str]:
        """`subject: message` of every mistake."""
        return [f"{p.subject}: {p.message}" for p in check(self.write(), self.folder)]

    def expected(self) -> list[str]:
        """What was expected instead of every mistake."""
        return [p.expected for p in check(self.write(), self.folder)]

    def _tests(self) -> list[tuple[str, ...]]:
        if self.tests is not None:
            return self.tests
        return [(m["unique_id"],) for m in self.models if "feature_table" in m["config"]["meta"]]


def dict_of(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected a mapping, got {value!r}")
    return value
