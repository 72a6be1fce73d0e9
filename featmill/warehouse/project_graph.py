"""dbt's in-memory manifest, as publishing sees it: who descends from whom, what depends on the run's moments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from featmill.errors import ContractError

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

#: Macros through which a node depends on the run's moments (rule 2); nothing else may.
_MOMENT_MACROS = frozenset({"macro.featmill.as_of", "macro.featmill.cut_off"})
_CANDIDATE_PREFIX = "feat_"
PUBLISHED = "published"


def is_published(node: Any) -> bool:  # noqa: ANN401 - dbt's node types have no common base
    """Whether it is a publish node."""
    return str(node.resource_type) == "model" and node.config.materialized == PUBLISHED


def feature_table_of(node: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """Its `config.meta.feature_table`, if it declares one."""
    if str(node.resource_type) != "model":
        return None
    found = (node.config.meta or {}).get("feature_table")
    return found if isinstance(found, dict) else None


def candidate_of(manifest: Manifest, unique_id: str) -> Any:  # noqa: ANN401
    """The feature table that a publish node publishes: its one parent that is a feature table.

    Where it waits for others too (`-- depends_on`), the one it is named for: `feat_` and its own name.

    Raises:
        ContractError: there is none, or no telling which.
    """
    node = manifest.nodes[unique_id]
    read = [manifest.nodes[p] for p in parents(manifest, unique_id) if p in manifest.nodes]
    tables = {table.unique_id: table for table in read if feature_table_of(table) is not None}
    named = [table for table in tables.values() if table.name == _CANDIDATE_PREFIX + node.name]
    found = named or list(tables.values())
    if len(found) == 1:
        return found[0]
    if not found:
        raise ContractError(
            f"{node.name} publishes nothing: the model it refers to has no config.meta.feature_table"
        )
    listed = ", ".join(sorted(table.name for table in found))
    raise ContractError(
        f"{node.name} refers to several feature tables ({listed}) and none is {_CANDIDATE_PREFIX}{node.name}",
        hint="name the publish node for the table it publishes, or take the other reference out",
    )


def ancestors(manifest: Manifest, unique_id: str) -> list[str]:
    """The unique ids it descends from, sources included, nearest first."""
    queue, seen = parents(manifest, unique_id), dict[str, None]()
    for current in queue:  # grows while it is walked: breadth first
        if current not in seen:
            seen[current] = None
            queue.extend(parents(manifest, current))
    return list(seen)


def parents(manifest: Manifest, unique_id: str) -> list[str]:
    """The unique ids a node or test refers to; none for a source or a seed."""
    node = manifest.nodes.get(unique_id) or manifest.unit_tests.get(unique_id)
    return list(getattr(getattr(node, "depends_on", None), "nodes", []))


def dated_nodes(manifest: Manifest) -> set[str]:
    """The models that depend on the run's moments, all that descends from them, and what publish nodes publish."""
    reaching = _macros_that_reach(manifest, _MOMENT_MACROS)
    dated = set()
    for unique_id, node in manifest.nodes.items():
        if str(node.resource_type) != "model":
            continue
        if is_published(node):
            dated |= {unique_id, candidate_of(manifest, unique_id).unique_id}
        elif reaching.intersection(node.depends_on.macros):
            dated.add(unique_id)
    children = manifest.child_map or {}
    queue = list(dated)
    for unique_id in queue:  # grows while it is walked
        for child in children.get(unique_id, []):
            if child.startswith("model.") and child not in dated:
                dated.add(child)
                queue.append(child)
    return dated


def _macros_that_reach(manifest: Manifest, wanted: Iterable[str]) -> set[str]:
    """The macros that call one of `wanted`, directly or through others, and these themselves."""
    callers: dict[str, list[str]] = {}
    for unique_id, macro in manifest.macros.items():
        for called in macro.depends_on.macros:
            callers.setdefault(called, []).append(unique_id)
    reached = set(wanted)
    queue = list(reached)
    for macro_id in queue:  # grows while it is walked
        for caller in callers.get(macro_id, []):
            if caller not in reached:
                reached.add(caller)
                queue.append(caller)
    return reached
