"""The gate before publishing: what a publish node's rows stand on was built and tested in this very `dbt build`.

dbt orders the tests of a feature table before its publish node and skips the node where one fails, but only for what
a command selects: `dbt build -s <publish node>` would publish rows nobody tested, and `dbt build -s feat_x+` rows
computed from a staging table that is older than its source, or whose own test has failed. So everything a publish node
descends from, and every test of it, must be selected; or have passed earlier in this process, from the same sources
and, where it depends on them, at the same moments (the later dates of a backfill).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmill.errors import GateFailed
from featmill.warehouse.project_graph import ancestors, candidate_of

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

_BUILT = ("model", "seed", "snapshot")


@dataclass(frozen=True, slots=True)
class Gate:
    """One publish node's gate. `covered` says of a node or test: part of this build, or passed before it."""

    manifest: Manifest
    publish_node: str
    covered: Callable[[str], bool]

    def require(self) -> None:
        """Let pass, or refuse.

        Raises:
            GateFailed: something the rows stand on is not part of this build, or could fail after publishing.
        """
        candidate = candidate_of(self.manifest, self.publish_node)
        behind = ancestors(self.manifest, self.publish_node)
        self._require_built(behind)
        self._require_own_tests(candidate, set(behind))
        self._require_tests(behind)

    def _require_built(self, behind: list[str]) -> None:
        for unique_id in behind:
            node = self.manifest.nodes.get(unique_id)
            if node is None or str(node.resource_type) not in _BUILT:
                continue
            if node.config.materialized != "ephemeral" and not self.covered(unique_id):
                self._refuse(f"{node.name} is not part of this build")

    def _require_own_tests(self, candidate: Any, behind: set[str]) -> None:  # noqa: ANN401
        tests = [test for test in self._tests() if candidate.unique_id in test.depends_on.nodes]
        tests = [test for test in tests if self.publish_node not in test.depends_on.nodes]
        if not any(_is_key_test(test) for test in tests):
            raise GateFailed(
                f"{self._name} is not published: {candidate.name} has no data test featmill.feature_table of severity "
                "error over all its rows, so nothing holds back a NULL or repeated key",
                hint="add to its yml: data_tests: [featmill.feature_table]",
            )
        for test in tests:
            for parent in test.depends_on.nodes:
                if parent not in behind:
                    self._refuse_late(test, parent)

    def _require_tests(self, behind: list[str]) -> None:
        """A test that also reads what comes after publishing cannot come before it; the release waits for it."""
        rows = {unique_id for unique_id in behind if unique_id in self.manifest.nodes}
        for test in self._tests():
            parents = test.depends_on.nodes
            if rows.isdisjoint(parents) or any(self._is_after(parent) for parent in parents):
                continue
            if not self.covered(test.unique_id):
                self._refuse(f"its test {test.name} is not part of this build")

    def _tests(self) -> list[Any]:
        return [node for node in self.manifest.nodes.values() if str(node.resource_type) == "test"]

    def _is_after(self, unique_id: str) -> bool:
        if unique_id == self.publish_node:
            return True
        return unique_id in self.manifest.nodes and self.publish_node in ancestors(
            self.manifest, unique_id
        )

    @property
    def _name(self) -> str:
        return self.manifest.nodes[self.publish_node].name

    def _refuse(self, why: str) -> None:
        raise GateFailed(
            f"{self._name} is not published: {why}",
            hint=f"build it with all it stands on and its tests: dbt build -s +{self._name}",
        )

    def _refuse_late(self, test: Any, parent: str) -> None:  # noqa: ANN401
        name = parent.split(".")[2]
        raise GateFailed(
            f"{self._name} is not published: its test {test.name} also reads {name}, "
            "so dbt would run it after publishing",
            hint=f"add a first line to {self._name}: -- depends_on: {{{{ ref('{name}') }}}}",
        )


def _is_key_test(test: Any) -> bool:  # noqa: ANN401
    """`featmill.feature_table`, and not weakened by what can be set on a test."""
    metadata = getattr(test, "test_metadata", None)
    if metadata is None or (metadata.namespace, metadata.name) != ("featmill", "feature_table"):
        return False
    config = test.config
    is_whole = config.where is None and config.limit is None and config.error_if == "!= 0"
    return bool(is_whole and config.enabled and config.severity.lower() == "error")
