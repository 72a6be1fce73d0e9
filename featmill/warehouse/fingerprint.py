"""The fingerprint of a feature table's definition (rule 19).

It covers what decides a value: the compiled SQL of the model and of the models it descends from, in canonical form; the
rows of seeds; the declared columns; hooks; and what is no SQL that dbt compiles (Python models, functions). Macros and
variables are in the compiled SQL already. It leaves out as_of and cut-off (the snapshot states them apart), paths,
database and schema names, comments and layout.

A fingerprint must not depend on what else a build selected. dbt compiles only what it selects, so `Compiled` answers
for every node: with what dbt ran in this process, or by having dbt compile it now.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from featmill.warehouse.canonical_sql import canonical_compiled, canonical_jinja

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

_LEFT_OUT_VARIABLES = frozenset(
    {"FEATMILL_AS_OF", "FEATMILL_CUT_OFF", "FEATMILL_HOME", "FEATMILL_SOURCES"}
)
#: Keys of `meta.feature` that say how a feature is read or governed, not what its value is.
_NOT_VALUE_KEYS = frozenset({"classification", "drift", "ignore_nulls", "online_type", "exclude"})
_VALUE_KEYS_OF_TABLE = ("join_keys", "hop", "delay")
_ADAPTER_PACKAGES = frozenset({"dbt", "dbt_duckdb"})
#: Materializations that hold exactly the rows of the compiled SQL, so changing one for another changes no value.
_PLAIN_MATERIALIZATIONS = frozenset({"table", "view", "ephemeral", "published"})
#: Settings of the other materializations that do not decide rows.
_NOT_VALUE_SETTINGS = frozenset(
    {
        "access",
        "alias",
        "contract",
        "database",
        "docs",
        "enabled",
        "freshness",
        "grants",
        "group",
        "meta",
        "packages",
        "persist_docs",
        "post-hook",
        "post_hook",
        "pre-hook",
        "pre_hook",
        "quoting",
        "schema",
        "static_analysis",
        "tags",
        "target_database",
        "target_schema",
    }
)

_VARIABLE = re.compile(
    r"""\b(env_var|var)\s*\(\s*['"]([A-Za-z_][A-Za-z0-9_]*)['"]"""
)  # var('x') -> ('var', 'x')
_CALL = re.compile(r"\b([A-Za-z_][A-Za-z0-9_]*)\s*\(")  # heavy() -> heavy


class Compiled(Protocol):
    """What dbt compiles of a node in this project, and what its Jinja can read."""

    def sql(self, node: Any) -> list[str]:  # noqa: ANN401 - dbt's node types have no common base
        """The node's compiled SQL: one text, or one for each way in which it may run."""

    def variables(self, node: Any) -> Mapping[str, Any]:  # noqa: ANN401
        """The project's and the command line's `vars` as the node sees them."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The process environment that `env_var` reads."""


@dataclass(slots=True)
class DefinitionParts:
    """What a fingerprint is made of: canonical texts and declarations by name."""

    texts: dict[str, Any] = field(default_factory=dict)
    declared: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)

    def digest(self) -> str:
        """A sha256 over all parts, independent of the order they were found in."""
        parts = {"texts": self.texts, "declared": self.declared, "variables": self.variables}
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def fingerprint(manifest: Manifest, unique_id: str, compiled: Compiled) -> str:
    """The fingerprint of a model.

    Args:
        manifest: dbt's in-memory manifest (`nodes`, `functions` and `macros` by unique id).
        unique_id: the feature table's model.
        compiled: what dbt compiles.

    Returns:
        64 hexadecimal digits.
    """
    parts = DefinitionParts()
    names = _names(manifest)
    for node in _with_ancestors(manifest, unique_id):
        name = _local_name(node.unique_id)
        is_compiled = _is_compiled(node)
        if is_compiled:
            parts.texts[name] = [canonical_compiled(sql, names) for sql in compiled.sql(node)]
        else:
            parts.texts[name] = _text(node)
        parts.declared[name] = _declarations(node)
        uncompiled = _hooks(node) if is_compiled else [node.raw_code or "", *_hooks(node)]
        _add_jinja(parts, manifest, node, uncompiled, compiled)
    for hook in _run_hooks(manifest):
        _add_jinja(parts, manifest, hook, [hook.raw_code], compiled)
    return parts.digest()


def _is_compiled(node: Any) -> bool:  # noqa: ANN401
    is_query = str(node.resource_type) in ("model", "snapshot")
    return is_query and str(getattr(node, "language", "sql")) == "sql"


def _text(node: Any) -> str:  # noqa: ANN401
    """What a node that is no compiled SQL holds: of a seed its rows, of Python its text."""
    if str(node.resource_type) == "seed":
        # dbt's own checksum of a large seed is its path.
        rows = Path(node.root_path or "", node.original_file_path).read_bytes()
        read_as = {name: getattr(node.config, name, None) for name in ("column_types", "delimiter")}
        return hashlib.sha256(rows).hexdigest() + json.dumps(read_as, sort_keys=True)
    if str(getattr(node, "language", "sql")) == "python":
        return str(node.raw_code)  # layout is meaning in Python
    return canonical_jinja(node.raw_code or "")


def _hooks(node: Any) -> list[str]:  # noqa: ANN401
    hooks = [*getattr(node.config, "pre_hook", []), *getattr(node.config, "post_hook", [])]
    return [hook.sql for hook in hooks]


def _run_hooks(manifest: Manifest) -> list[Any]:
    """What projects run before a build, except our own: it may define what a model calls."""
    found = [
        node
        for node in manifest.nodes.values()
        if str(node.resource_type) == "operation" and "on-run-start" in (node.tags or [])
    ]
    return [node for node in found if "featmill.pin_run(" not in node.raw_code]


def _add_jinja(
    parts: DefinitionParts,
    manifest: Manifest,
    node: Any,  # noqa: ANN401
    texts: list[str],
    compiled: Compiled,
) -> None:
    """Add texts that dbt renders when it runs them: their Jinja, the macros and variables they name, the settings.

    Also a materialization of the project's own, which decides what becomes of the compiled SQL.
    """
    materialized = str(getattr(node.config, "materialized", ""))
    wanted = {name for text in texts for name in _CALL.findall(text)}
    wanted |= {f"materialization_{materialized}_{kind}" for kind in ("default", "duckdb")}
    macros = _reachable_macros(manifest, wanted)
    name = _local_name(node.unique_id)
    for position, text in enumerate(texts):
        parts.texts[f"{name}:{position}"] = canonical_jinja(text)
    for macro in macros:
        # Whole: packages may have macros of one name.
        parts.texts[macro.unique_id] = canonical_jinja(macro.macro_sql)
    jinja = [*texts, *(macro.macro_sql for macro in macros)]
    parts.variables.update(_variables(jinja, compiled.variables(node), compiled.environment))


def _with_ancestors(manifest: Manifest, unique_id: str) -> list[Any]:
    queue, seen = [unique_id], dict[str, Any]()
    for current in queue:  # grows while it is walked: breadth first
        node = manifest.nodes.get(current) or getattr(manifest, "functions", {}).get(current)
        if node is None or current in seen:
            continue
        seen[current] = node
        queue.extend(getattr(node.depends_on, "nodes", []))
    return list(seen.values())


def _reachable_macros(manifest: Manifest, names: Iterable[str]) -> list[Any]:
    """The macros of these names and what they call, without dbt's and our own."""
    wanted = set(names)
    queue = sorted(key for key, macro in manifest.macros.items() if macro.name in wanted)
    seen = dict[str, Any]()
    for current in queue:  # grows while it is walked: breadth first
        macro = manifest.macros.get(current)
        if macro is None or current in seen:
            continue
        if macro.package_name in _ADAPTER_PACKAGES | {"featmill"}:
            continue
        seen[current] = macro
        queue.extend(macro.depends_on.macros)
    return list(seen.values())


def _names(manifest: Manifest) -> dict[str, str]:
    """Relation as SQL names it -> unique id without its project, so that moving or renaming one changes nothing."""
    nodes = [*manifest.nodes.values(), *manifest.sources.values()]
    return {
        str(node.relation_name): _local_name(node.unique_id)
        for node in nodes
        if getattr(node, "relation_name", None)
    }


def _local_name(unique_id: str) -> str:
    """`model.shop.feat_x` -> `model.feat_x`: a renamed project is not another definition."""
    kind, _, rest = unique_id.partition(".")
    return f"{kind}.{rest.partition('.')[2]}"


def _declarations(node: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a node's yml says that decides values: columns with their types, features, how rows are kept."""
    declared: dict[str, Any] = {}
    if getattr(getattr(node.config, "contract", None), "enforced", False):
        # Rows are cast to these when they are inserted.
        declared["types"] = {name: column.data_type for name, column in node.columns.items()}
    materialized = str(getattr(node.config, "materialized", ""))
    if _is_compiled(node) and materialized not in _PLAIN_MATERIALIZATIONS:
        settings = node.config.to_dict()
        declared["config"] = {k: v for k, v in settings.items() if k not in _NOT_VALUE_SETTINGS}
    table = (getattr(node.config, "meta", None) or {}).get("feature_table")
    if not table:
        return declared
    columns = {}
    for name, column in node.columns.items():
        feature = (column.config.meta or {}).get("feature") or {}
        columns[name] = {
            "type": column.data_type,
            "feature": {key: value for key, value in feature.items() if key not in _NOT_VALUE_KEYS},
        }
    declared["columns"] = columns
    declared["table"] = {key: table.get(key) for key in _VALUE_KEYS_OF_TABLE}
    return declared


def _variables(
    texts: Iterable[str], variables: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for text in texts:
        for function, name in _VARIABLE.findall(text):
            if name in _LEFT_OUT_VARIABLES:
                continue
            value = environment.get(name) if function == "env_var" else variables.get(name)
            found[f"{function}:{name}"] = None if value is None else json.dumps(value, default=str)
    return found
