"""What dbt compiles of a node, in the process that runs dbt."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

#: Of these, what dbt ran is all there is to know; of others, the SQL depends on what is there already.
_RUNS_ONE_WAY = frozenset({"table", "view", "ephemeral", "published", "test"})


class DbtCompiler:
    """dbt's compiler over the manifest and the adapter of the running dbt.

    A node is compiled on a copy, so that what dbt itself keeps of it stays. Jinja that asks the database runs on the
    connection of the calling thread, which must have one. `texts` is compiled SQL to prefer, by unique id.
    """

    def __init__(self, manifest: Manifest, texts: Mapping[str, str] | None = None) -> None:
        from dbt.adapters.factory import FACTORY
        from dbt.compilation import Compiler

        adapter: Any = FACTORY.lookup_adapter("duckdb")
        self._manifest = manifest
        self._texts = texts or {}
        self._config = adapter.config
        self._compiler: Any = Compiler(adapter.config)

    @property
    def environment(self) -> Mapping[str, str]:
        """The process environment."""
        return os.environ

    def variables(self, node: Any) -> Mapping[str, Any]:  # noqa: ANN401 - dbt's node types have no common base
        """As dbt looks them up: the command line, then those of the node's own project, then those of all."""
        declared = self._config.vars.to_dict()
        scoped = declared.get(node.package_name, {})
        return {**declared, **scoped, **self._config.cli_vars}

    def sql(self, node: Any) -> list[str]:  # noqa: ANN401
        """The node's compiled SQL: as dbt ran it in this process, else as it compiles now.

        An incremental model has two texts, of which a run takes the one that fits what is there: both count.
        """
        if node.config.materialized in _RUNS_ONE_WAY:
            text = self._texts.get(node.unique_id) or node.compiled_code
            return [text or self.compile(node)]
        return [
            self.compile(node, is_incremental=lambda: False),
            self.compile(node, is_incremental=lambda: True),
        ]

    def compile(self, node: Any, **context: Any) -> str:  # noqa: ANN401
        """Have dbt compile a node now; `context` overrides what its Jinja sees."""
        compiled = copy.deepcopy(node)
        # Else dbt takes an env_var it meets for one that it met in parsing.
        compiled.compiled, compiled.compiled_code = True, None
        compiled.extra_ctes_injected, compiled.extra_ctes = False, []
        return str(
            self._compiler.compile_node(
                compiled, self._manifest, context, write=False
            ).compiled_code
        )
