"""Further dates of a backfill without dbt's share: the SQL that dbt compiled, run again at another as_of.

dbt builds the first date with all its tests. For a further date only the moments differ, so what depends on them is run
in the same order on the same database: models, then every test, then publishing, then the release. Compiling,
scheduling and reporting, which are dbt's share of a date, fall away; no test does.

A snapshot must be what `dbt build` at that as_of makes. So a node's text is taken for another date only where its Jinja
writes the moments down and does nothing else with them; others are compiled by dbt for each date. Whatever does not fit
(another materialization, a hook, a test that stores its rows) is not replayed at all. And where anything goes wrong, or
a test fails, the date is left to dbt, which judges and reports.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from featmill.errors import FeatmillError
from featmill.warehouse.canonical_sql import with_moments
from featmill.warehouse.project_graph import (
    ancestors,
    candidate_of,
    dated_nodes,
    is_published,
    parents,
)
from featmill.warehouse.session import Request
from orchestration.dbt_process import BuildOutcome, NodeResult

if TYPE_CHECKING:
    from orchestration.build_database import BuildDatabase

_TRUSTED_PACKAGES = frozenset({"featmill", "dbt", "dbt_duckdb"})
_STATEMENT = re.compile(r"\{%")  # {% set days = 7 %}
_EXPRESSION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)  # {{ featmill.as_of() }}
_MOMENT_CALL = re.compile(r"\b(?:as_of|cut_off)\(\)(?!\s*(?:[,)~]|$))")  # as_of()[:10]
_ASKS = re.compile(
    r"\b(?:env_var|run_query|statement|adapter|modules|invocation_id|run_started_at|graph|flags|if)\b"
)


@dataclass(slots=True)
class Plan:
    """What a date takes for one set of publish nodes, in the order it runs."""

    models: list[Any]
    tests: list[Any]
    publish_nodes: list[str]


@dataclass(slots=True)
class Replay:
    """The dates after the first, in the database that dbt built the first one in.

    `invocation_id` is dbt's run of the first date, `cut_off` the one it settled, as UTC timestamp text.
    """

    database: BuildDatabase
    invocation_id: str
    cut_off: str
    _dated: set[str] = field(default_factory=set)
    _plans: dict[frozenset[str], Plan | None] = field(default_factory=dict)
    _fingerprints: dict[str, str] = field(default_factory=dict)
    _plain: dict[str, bool] = field(default_factory=dict)
    #: What dbt compiled for the date under way, of nodes whose text depends on it.
    _texts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._dated = dated_nodes(self.database.manifest)

    @classmethod
    def after(cls, database: BuildDatabase, invocation_id: str) -> Replay:
        """The replay of what dbt just ran in this process."""
        moments = json.loads(database.session.pins[f"{invocation_id}:moments"])
        return cls(database, invocation_id, moments["cut_off"])

    def run(self, as_of: datetime, publish_nodes: Sequence[str]) -> BuildOutcome | None:
        """Build, test, publish and release at one date; None where that is dbt's to do.

        Nothing is published where one test fails. A snapshot that is published twice, here and then by dbt, is one.
        """
        import duckdb
        from dbt_common.exceptions import DbtBaseException

        plan = self._plan(publish_nodes)
        if plan is None:
            return None
        moments = {"as_of": _text(as_of), "cut_off": self.cut_off}
        try:
            return self._run(plan, as_of, moments)
        except (duckdb.Error, DbtBaseException, FeatmillError):
            return None

    def _run(self, plan: Plan, as_of: datetime, moments: dict[str, str]) -> BuildOutcome | None:
        session, manifest = self.database.session, self.database.manifest
        run = f"{self.invocation_id}@{moments['as_of']}"
        session.pins[f"{run}:moments"] = json.dumps(moments)
        session.pins[f"{run}:sources"] = session.pins[f"{self.invocation_id}:sources"]
        session.dated[run] = self._dated
        results = [self._build(node, moments) for node in plan.models]
        for test in plan.tests:
            result = self._test(test, moments)
            if result is None:
                return None
            results.append(result)
        session.confirm(manifest, run, [result.unique_id for result in results])
        results.extend(self._publish(node, run, moments) for node in plan.publish_nodes)
        release, said = session.release(manifest, run, as_of, [])
        if release is None:
            return None
        return BuildOutcome(as_of.isoformat(), tuple(results), (said,))

    def _build(self, node: Any, moments: dict[str, str]) -> NodeResult:  # noqa: ANN401 - dbt's
        begun = perf_counter()
        sql = self._sql(node, moments)
        cursor = self.database.cursor
        if node.config.materialized == "view":
            cursor.execute(f"CREATE OR REPLACE VIEW {node.relation_name} AS {sql}")
        else:
            # Into the table that dbt made: its types and constraints are what the contract says.
            cursor.execute(f"TRUNCATE {node.relation_name}")
            cursor.execute(f"INSERT INTO {node.relation_name} BY NAME {sql}")
        return _result(node, "model", "success", begun)

    def _test(self, test: Any, moments: dict[str, str]) -> NodeResult | None:  # noqa: ANN401
        """As dbt's own test macro and its judgement; None where it is not simply passed."""
        begun = perf_counter()
        config = test.config
        limit = "" if config.limit is None else f"LIMIT {config.limit}"
        found = self.database.cursor.execute(
            f"SELECT {config.fail_calc} AS failures, {config.fail_calc} {config.warn_if} AS should_warn, "
            f"{config.fail_calc} {config.error_if} AS should_error "
            f"FROM (\n{self._sql(test, moments)}\n{limit}\n) AS dbt_internal_test"
        ).fetchall()
        _, should_warn, should_error = found[0]
        if should_error and config.severity.upper() == "ERROR":
            return None
        return None if should_warn else _result(test, "test", "pass", begun)

    def _publish(self, unique_id: str, run: str, moments: dict[str, str]) -> NodeResult:
        begun = perf_counter()
        session, manifest = self.database.session, self.database.manifest
        node: Any = manifest.nodes[unique_id]
        request = Request(
            publish_node=unique_id,
            text=node.compiled_code or "",
            as_of=moments["as_of"],
            cut_off=moments["cut_off"],
            invocation_id=run,
            selected=frozenset(),
            fingerprint=self._fingerprint(unique_id),
        )
        session.publish(self.database.cursor, manifest, request)
        snapshot, is_new = session.outcome(run, unique_id)
        did = "published" if is_new else "unchanged:"
        said = f"{did} {snapshot.rows:,} rows as snapshot {snapshot.snapshot_id}"
        return _result(node, "published", "success", begun, said)

    def _fingerprint(self, publish_node: str) -> str:
        """Once for all dates, unless what it is made of is compiled for each."""
        behind = self._dated.intersection(ancestors(self.database.manifest, publish_node))
        own = {u: self._texts[u] for u in behind if u in self._texts}
        if own:
            return self.database.fingerprint(publish_node, own)
        if publish_node not in self._fingerprints:
            self._fingerprints[publish_node] = self.database.fingerprint(publish_node)
        return self._fingerprints[publish_node]

    def _sql(self, node: Any, moments: dict[str, str]) -> str:  # noqa: ANN401
        if self._is_plain(node):
            return with_moments(node.compiled_code, moments["as_of"], moments["cut_off"])
        text = self._texts[node.unique_id] = self.database.compile(node, moments)
        return text

    def _is_plain(self, node: Any) -> bool:  # noqa: ANN401
        """Whether its text at another date is this one with other moments, which dbt confirms for one date."""
        known = self._plain.get(node.unique_id)
        if known is None:
            known = self._plain[node.unique_id] = (
                _writes_moments_only(node) and self._packages(node) <= _TRUSTED_PACKAGES
            )
        return known

    def confirm_at(self, as_of: datetime, publish_nodes: Iterable[str]) -> None:
        """Have dbt compile everything at one more date; a node whose text is another is compiled for each date."""
        moments = {"as_of": _text(as_of), "cut_off": self.cut_off}
        plan = self._plan(list(publish_nodes))
        for node in [] if plan is None else [*plan.models, *plan.tests]:
            if self._is_plain(node) and "/* featmill:" in node.compiled_code:
                written = with_moments(node.compiled_code, moments["as_of"], moments["cut_off"])
                self._plain[node.unique_id] = written == self.database.compile(node, moments)

    def _packages(self, node: Any) -> set[str]:  # noqa: ANN401
        """The packages of the macros it calls, directly or through others."""
        macros = self.database.manifest.macros
        queue, seen = list(node.depends_on.macros), set[str]()
        for current in queue:  # grows while it is walked
            if current in macros and current not in seen:
                seen.add(current)
                queue.extend(macros[current].depends_on.macros)
        return {macros[name].package_name for name in seen}

    def _plan(self, publish_nodes: Sequence[str]) -> Plan | None:
        key = frozenset(publish_nodes)
        if key not in self._plans:
            self._plans[key] = self._planned(sorted(key))
        return self._plans[key]

    def _planned(self, publish_nodes: list[str]) -> Plan | None:
        manifest = self.database.manifest
        wanted = set[str]()
        for node in publish_nodes:
            behind = [candidate_of(manifest, node).unique_id, *ancestors(manifest, node)]
            wanted |= self._dated.intersection(behind) & manifest.nodes.keys()
        if any(is_published(manifest.nodes[unique_id]) for unique_id in wanted):
            return None  # a table over what another one publishes: views in between
        models = [manifest.nodes[u] for u in _ordered({u: parents(manifest, u) for u in wanted})]
        if self._reading(set(publish_nodes)):
            return None  # a test of what is published comes between publishing and the release
        before = {u for node in publish_nodes for u in ancestors(manifest, node)}
        # dbt runs a test that reads more after publishing, with what comes after.
        tests = [
            test
            for test in self._reading(wanted)
            if all(u in before or u not in self._dated for u in test.depends_on.nodes)
        ]
        fits = all(map(_is_replayable, models)) and all(map(_is_stateless, tests))
        return Plan(models, tests, publish_nodes) if fits else None

    def _reading(self, wanted: set[str]) -> list[Any]:
        """The tests that read one of these."""
        nodes: list[Any] = list(self.database.manifest.nodes.values())
        return [
            node
            for node in nodes
            if str(node.resource_type) == "test" and not wanted.isdisjoint(node.depends_on.nodes)
        ]


def _is_replayable(node: Any) -> bool:  # noqa: ANN401
    """A table or view whose rows are those of its compiled SQL, and nothing else happens."""
    config = node.config
    has_constraints = bool(getattr(node, "constraints", None)) or any(
        column.constraints for column in node.columns.values()
    )
    is_key = has_constraints and any(
        str(getattr(c.type, "value", c.type)) in ("primary_key", "unique", "foreign_key")
        for c in [*node.constraints, *(c for col in node.columns.values() for c in col.constraints)]
    )
    return (
        node.language == "sql"
        and config.materialized in ("table", "view")
        and not (config.pre_hook or config.post_hook or is_key)
        and not config.get("indexes")
        and node.compiled_code is not None
    )


def _is_stateless(test: Any) -> bool:  # noqa: ANN401
    config = test.config
    stores = bool(config.store_failures) or config.store_failures_as not in (None, "ephemeral")
    return test.compiled_code is not None and not stores


def _writes_moments_only(node: Any) -> bool:  # noqa: ANN401
    raw = re.sub(r"\{#.*?#\}", " ", node.raw_code, flags=re.DOTALL)  # {# any #} -> nothing
    if str(node.resource_type) == "test" and getattr(node, "test_metadata", None) is not None:
        return True  # what a generic test does is in its macro
    if _STATEMENT.search(raw):
        return False
    return not any(
        _ASKS.search(text) or _MOMENT_CALL.search(text.strip()) for text in _EXPRESSION.findall(raw)
    )


def _ordered(parents_of: dict[str, list[str]]) -> list[str]:
    """Parents before children; the names decide among equals."""
    from graphlib import TopologicalSorter

    within = {u: [p for p in found if p in parents_of] for u, found in sorted(parents_of.items())}
    return list(TopologicalSorter(within).static_order())


def _result(
    node: Any,  # noqa: ANN401
    kind: str,
    status: str,
    begun: float,
    message: str = "",
) -> NodeResult:
    return NodeResult(node.unique_id, node.name, kind, status, perf_counter() - begun, message)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
