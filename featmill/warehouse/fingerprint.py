"""The fingerprint of a feature table's definition (rule 19).

It covers the model, the models and seeds it descends from, the macros they call, the declarations its macros read, and
the variables they read. It leaves out as_of and cut-off (the snapshot states them apart), paths, database and schema
names (no definition spells them: they stand behind `ref` and `source`), comments and layout.

The text that is fingerprinted is the Jinja SQL, token by token: dbt compiles a parent only when it is selected, and a
fingerprint must not depend on what else a build selected.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import ManifestNode

#: What decides as_of and cut-off or where things lie: it cannot change the value of a snapshot of one identity.
_MOMENT_MACROS = "macros/snapshots/"
_LEFT_OUT_VARIABLES = frozenset(
    {"FEATMILL_AS_OF", "FEATMILL_CUT_OFF", "FEATMILL_HOME", "FEATMILL_SOURCES"}
)
#: Keys of `meta.feature` that say how a feature is read or governed, not what its value is.
_NOT_VALUE_KEYS = frozenset({"classification", "drift", "ignore_nulls", "online_type", "exclude"})
_ADAPTER_PACKAGES = frozenset({"dbt", "dbt_duckdb"})

_VARIABLE = re.compile(
    r"""\b(env_var|var)\s*\(\s*['"]([A-Za-z_][A-Za-z0-9_]*)['"]"""
)  # var('x') -> ('var', 'x')

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_JINJA = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)  # {{ ref('x') }} or {% set days = 7 %}


@dataclass(slots=True)
class DefinitionParts:
    """What a fingerprint is made of: canonical texts and declarations by name."""

    texts: dict[str, str] = field(default_factory=dict)
    declared: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)

    def digest(self) -> str:
        """A sha256 over all parts, independent of the order they were found in."""
        parts = {"texts": self.texts, "declared": self.declared, "variables": self.variables}
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def canonical(text: str) -> str:
    """Jinja SQL without layout and comments, other tokens as written.

    Jinja runs inside an SQL comment too, so whatever Jinja there is counts, wherever it stands. A text that the
    tokenizer refuses is folded by white space alone: then a comment changes the fingerprint, which costs a correction
    and never hides one.
    """
    from sqlglot.dialects.duckdb import DuckDB
    from sqlglot.errors import TokenError

    without_comments = re.sub(r"\{#.*?#\}", " ", text, flags=re.DOTALL)  # {# any #} -> nothing
    hidden = [block for comment in _COMMENT.findall(text) for block in _JINJA.findall(comment)]
    try:
        tokens = [
            token for part in [without_comments, *hidden] for token in DuckDB().tokenize(part)
        ]
    except TokenError:
        return " ".join(without_comments.split())
    return " ".join(f"{token.token_type.name}:{token.text}" for token in tokens)


def fingerprint(
    manifest: Manifest,
    unique_id: str,
    *,
    variables: Mapping[str, Any],
    environment: Mapping[str, str],
) -> str:
    """The fingerprint of a model.

    Args:
        manifest: dbt's in-memory manifest (`nodes` and `macros` by unique id).
        unique_id: the feature table's model.
        variables: the project's and the command line's `vars`, merged.
        environment: the process environment that `env_var` reads.

    Returns:
        64 hexadecimal digits.
    """
    parts = DefinitionParts()
    macros: set[str] = set()
    for node in _with_ancestors(manifest, unique_id):
        name = _local_name(node.unique_id)
        parts.texts[name] = _text(node)
        parts.declared[name] = _declarations(node)
        macros.update(node.depends_on.macros if hasattr(node.depends_on, "macros") else [])
    for macro in _reachable_macros(manifest, macros):
        # Whole: packages may have macros of one name.
        parts.texts[macro.unique_id] = canonical(macro.macro_sql)
        macros.add(macro.unique_id)
    raw = [node.raw_code or "" for node in _with_ancestors(manifest, unique_id)]
    raw += [macro.macro_sql for macro in _reachable_macros(manifest, macros)]
    parts.variables = _variables(raw, variables, environment)
    return parts.digest()


def _text(node: Any) -> str:  # noqa: ANN401 - dbt's node types have no common base
    """What a node computes: its code and hooks; of a seed its rows and how they are typed."""
    if str(node.resource_type) == "seed":
        # dbt's own checksum of a large seed is its path.
        rows = Path(node.root_path or "", node.original_file_path).read_bytes()
        return hashlib.sha256(rows).hexdigest() + json.dumps(
            node.config.column_types, sort_keys=True
        )
    if str(getattr(node, "language", "sql")) != "sql":
        return str(node.raw_code)  # layout is meaning in Python
    hooks = [*getattr(node.config, "pre_hook", []), *getattr(node.config, "post_hook", [])]
    return " ".join(canonical(text) for text in [node.raw_code, *(hook.sql for hook in hooks)])


def _with_ancestors(manifest: Manifest, unique_id: str) -> list[Any]:
    queue, seen = [unique_id], dict[str, Any]()
    for current in queue:  # grows while it is walked: breadth first
        node = manifest.nodes.get(current)
        if node is None or current in seen:
            continue
        seen[current] = node
        queue.extend(getattr(node.depends_on, "nodes", []))
    return list(seen.values())


def _reachable_macros(manifest: Manifest, roots: Iterable[str]) -> list[Any]:
    queue, seen = sorted(roots), dict[str, Any]()
    for current in queue:  # grows while it is walked: breadth first
        macro = manifest.macros.get(current)
        if macro is None or current in seen or macro.package_name in _ADAPTER_PACKAGES:
            continue
        if macro.package_name == "featmill" and macro.original_file_path.startswith(_MOMENT_MACROS):
            continue
        seen[current] = macro
        queue.extend(macro.depends_on.macros)
    return list(seen.values())


def _local_name(unique_id: str) -> str:
    """`model.shop.feat_x` -> `model.feat_x`: a renamed project is not another definition."""
    kind, _, rest = unique_id.partition(".")
    return f"{kind}.{rest.partition('.')[2]}"


def _declarations(node: ManifestNode) -> dict[str, Any]:
    """What a model's yml says that a macro turns into values: columns with their types and feature declarations."""
    table = (node.config.meta or {}).get("feature_table") if hasattr(node.config, "meta") else None
    if not table:
        return {}
    columns = {}
    for name, column in node.columns.items():
        feature = (column.config.meta or {}).get("feature") or {}
        columns[name] = {
            "type": column.data_type,
            "feature": {key: value for key, value in feature.items() if key not in _NOT_VALUE_KEYS},
        }
    keys = ("join_keys", "hop", "delay")
    return {"columns": columns, "table": {key: table.get(key) for key in keys}}


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
