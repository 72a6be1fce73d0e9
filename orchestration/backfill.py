"""Backfill: the ledger says which intervals are missing or stale, and only these are built, in one dbt process.

It keeps no journal. What is done stands in the registry of releases, so a backfill that was killed is resumed by asking
the ledger again; a snapshot whose release was not made is found unchanged and released.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING

from featmill.errors import BuildError, ContractError, GateFailed, UsageError
from featmill.warehouse.attempts import Attempts
from featmill.warehouse.intervals import (
    Interval,
    Known,
    State,
    expired_at,
    late_rows,
    ledger,
    released_at,
)
from featmill.warehouse.lake import relation_sql
from featmill.warehouse.project_graph import ancestors, dated_nodes, is_published, parents
from orchestration.dbt_process import BuildOutcome, DbtProcess, Progress
from orchestration.replay import Replay
from orchestration.tasks import index_events, told

if TYPE_CHECKING:
    from featmill.settings import Settings
    from orchestration.build_database import BuildDatabase

#: What a backfill builds; of late intervals only where it is asked to.
_GAPS = frozenset({State.MISSING, State.STALE, State.FAILED, State.BLOCKED})
#: What dbt builds, as opposed to what it tests.
_BUILT = frozenset({"model", "seed", "snapshot"})
#: A range that is longer is a mistake in a year or a step.
_MOST_DATES = 100_000


@dataclass(frozen=True, slots=True)
class Dates:
    """The moments `first`, `first + step`, ... up to and including `last`. Aware, UTC."""

    first: datetime
    last: datetime
    step: timedelta = timedelta(days=1)

    def as_ofs(self) -> list[datetime]:
        """The moments, oldest first.

        Raises:
            UsageError: there is none, or the step leads nowhere.
        """
        if self.step <= timedelta(0):
            raise UsageError(f"a step is longer than nothing, got {self.step}")
        if self.last < self.first:
            raise UsageError(f"there is no date from {self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}")
        count = (self.last - self.first) // self.step + 1
        if count > _MOST_DATES:
            raise UsageError(f"{count:,} dates are too many; at most {_MOST_DATES:,}")
        return [self.first + self.step * position for position in range(count)]


@dataclass(frozen=True, slots=True)
class DateBuilt:
    """One date of a backfill: what was built there, how long it took, and where it stands in the whole."""

    as_of: datetime
    tables: tuple[str, ...]
    outcome: BuildOutcome
    seconds: float
    position: int
    total: int
    by_dbt: bool


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of progress: of each date, and of each node while dbt runs."""

    on_date: Callable[[DateBuilt], None] = lambda _: None
    on_node: Progress | None = None
    on_plan: Callable[[int, int, int], None] = lambda _todo, _asked, _expired: None


@dataclass(slots=True)
class Backfill:
    """One project's ledger, and the means to fill its gaps. Holds one dbt process."""

    settings: Settings
    process: DbtProcess = field(init=False)

    def __post_init__(self) -> None:
        self.process = DbtProcess(self.settings)

    def intervals(
        self, dates: Dates | None = None, tables: Sequence[str] | None = None
    ) -> list[Interval]:
        """The state of every table at every date; without dates, at those released and each day between them.

        Raises:
            UsageError: there is no such table.
            BuildLocked: a build is running.
        """
        with self.process.database() as database:
            wanted = self._wanted(database, tables)
            as_ofs = _released_days(database) if dates is None else dates.as_ofs()
            return self._ledger(database, wanted, as_ofs, with_late=True)

    def run(
        self, dates: Dates, *, force: bool = False, late: bool = False, watch: Watch | None = None
    ) -> list[DateBuilt]:
        """Build what is missing or stale (`late`: or has late rows; `force`: everything) in date order.

        What retention removed stays away, but at a date that has another gap: a release holds every table.

        Returns:
            What was built; empty where there was no gap.

        Raises:
            AsOfError: a date is before the data or after it; nothing is built.
            GateFailed: a test failed; the dates before stand, and the message says what remains.
            BuildError: the same of a model.
        """
        watch = watch or Watch()
        as_ofs = dates.as_ofs()
        with self.process.database() as database:
            bounds = database.bounds()
            for as_of in (as_ofs[0], as_ofs[-1]):
                bounds.require(as_of, _first_possible(bounds.first, dates))
            found = self._ledger(database, self._wanted(database, None), as_ofs, with_late=late)
        gaps = set(State) if force else _GAPS | ({State.LATE} if late else set())
        todo: dict[datetime, list[str]] = {}
        open_at = {interval.as_of for interval in found if interval.state in gaps}
        for interval in found:
            is_gone = interval.state is State.EXPIRED
            if interval.state in gaps or (is_gone and interval.as_of in open_at):
                todo.setdefault(interval.as_of, []).append(interval.table)
        gone = {i.as_of for i in found if i.state is State.EXPIRED} - open_at
        watch.on_plan(len(todo), len(as_ofs), len(gone))
        ordered = {as_of: tuple(todo[as_of]) for as_of in sorted(todo)}
        built = _Run(self.process, ordered, watch).run() if ordered else []
        index_events(self.settings)
        return built

    def _wanted(self, database: BuildDatabase, tables: Sequence[str] | None) -> Sequence[str]:
        known = database.publish_nodes
        if not known:
            raise ContractError(
                "the project publishes no feature table",
                hint="a publish node is one line: {{ featmill.publish(ref('feat_x')) }}",
            )
        unknown = sorted(set(tables or []) - known.keys())
        if unknown:
            raise UsageError(
                f"no feature table {unknown[0]!r} is published",
                hint=f"there are: {', '.join(known)}",
            )
        return list(known) if tables is None else tables

    def _ledger(
        self,
        database: BuildDatabase,
        tables: Sequence[str],
        as_ofs: Sequence[datetime],
        *,
        with_late: bool,
    ) -> list[Interval]:
        registry = database.session.registry
        wanted = set(as_ofs)
        released = {
            table: {as_of: snapshot for as_of, snapshot in found.items() if as_of in wanted}
            for table, found in released_at(registry, tables).items()
        }
        published = {table for table, found in released.items() if found}
        definitions = database.definitions(tables, published)
        late = late_rows(database.cursor, definitions, released) if with_late else {}
        gone = expired_at(registry, tables)
        known = Known(late, Attempts(registry.lake.root).all(), gone)
        return ledger(definitions, as_ofs, released, known)


@dataclass(slots=True)
class _Run:
    """One backfill under way. `todo` has the tables of each date, in date order."""

    process: DbtProcess
    todo: Mapping[datetime, tuple[str, ...]]
    watch: Watch
    done: list[DateBuilt] = field(default_factory=list)

    def run(self) -> list[DateBuilt]:
        waiting = list(self.todo)
        try:
            self._by_dbt(waiting.pop(0))
            while waiting:
                self._replay(waiting)
                if waiting:
                    self._by_dbt(waiting.pop(0))
        finally:
            if self.done:
                self._show()
        return self.done

    def _replay(self, waiting: list[datetime]) -> None:
        """Replay dates until none waits or one is left to dbt."""
        from dbt_common.invocation import get_invocation_id

        with self.process.database() as database:
            replay = Replay.after(database, get_invocation_id())
            last = waiting[-1]
            replay.confirm_at(last, self._nodes(self.todo[last]))
            while waiting:
                as_of, begun = waiting[0], perf_counter()
                outcome = replay.run(as_of, self._nodes(self.todo[as_of]))
                if outcome is None:
                    return
                waiting.pop(0)
                self._note(as_of, outcome, begun, by_dbt=False)

    def _by_dbt(self, as_of: datetime) -> None:
        begun = perf_counter()
        selected = self._later(as_of) if self.done else self._first(as_of)
        outcome = self.process.build_nodes(as_of.isoformat(), selected, self.watch.on_node)
        if outcome.failures or not _is_released(outcome):
            self._stop(as_of, outcome)
        self._note(as_of, outcome, begun, by_dbt=True)

    def _first(self, as_of: datetime) -> list[str]:
        """What publishing stands on, with the tests of it, and the tables that have a gap at this date."""
        manifest, nodes = self.process.manifest, self.process.manifest.nodes
        publish_nodes = {u for u, node in nodes.items() if is_published(node)}
        needed = {u for node in publish_nodes for u in ancestors(manifest, node)}
        for test in [node for node in nodes.values() if str(node.resource_type) == "test"]:
            # What else a test of it reads has to be there, unless it comes after publishing.
            read = {
                u for p in parents(manifest, test.unique_id) for u in [p, *ancestors(manifest, p)]
            }
            if publish_nodes.isdisjoint(read) and not needed.isdisjoint(read):
                needed |= read
        left_out = {u for u, n in nodes.items() if str(n.resource_type) in _BUILT} - needed
        left_out -= set(self._nodes(self.todo[as_of]))
        excluded = [self._selector(unique_id) for unique_id in sorted(left_out)]
        return ["--exclude", *excluded] if excluded else []

    def _later(self, as_of: datetime) -> list[str]:
        """What depends on the run's moments: the rest stands as the first date built it."""
        manifest, nodes = self.process.manifest, self._nodes(self.todo[as_of])
        behind = {unique_id for node in nodes for unique_id in [node, *ancestors(manifest, node)]}
        dated = sorted(behind & dated_nodes(manifest))
        selected = [self._selector(unique_id) for unique_id in dated]
        return ["--select", *selected, "--exclude-resource-type", "unit_test"]

    def _selector(self, unique_id: str) -> str:
        return ".".join(self.process.manifest.nodes[unique_id].fqn)

    def _nodes(self, tables: Sequence[str]) -> list[str]:
        nodes = self.process.manifest.nodes
        return sorted(u for u, node in nodes.items() if is_published(node) and node.name in tables)

    def _note(self, as_of: datetime, outcome: BuildOutcome, begun: float, *, by_dbt: bool) -> None:
        seconds, position = perf_counter() - begun, len(self.done) + 1
        built = DateBuilt(
            as_of, self.todo[as_of], outcome, seconds, position, len(self.todo), by_dbt
        )
        self.done.append(built)
        self.watch.on_date(built)

    def _stop(self, as_of: datetime, outcome: BuildOutcome) -> None:
        failed = [result for result in outcome.failures if result.is_test]
        broken = [result for result in outcome.failures if not result.is_test]
        why = [told("failed", failed)] if failed else []
        why += [told("could not be built", broken)] if broken else []
        why += list(outcome.said[-1:]) if not why else []
        remain = [f"{other:%Y-%m-%d}" for other in self.todo if other >= as_of]
        message = "\n".join(
            [
                f"the backfill stopped at {as_of:%Y-%m-%d %H:%M:%S}: {len(self.done)} of {len(self.todo)} dates are "
                "done, "
                f"{len(remain)} remain ({remain[0]} to {remain[-1]})",
                *why,
            ]
        )
        hint = "mend the cause and run the same command again: it goes on where it stopped"
        raise (
            GateFailed(message, hint=hint)
            if failed and not broken
            else BuildError(message, hint=hint)
        )

    def _show(self) -> None:
        """Let readers see it: the features database, and the views that training models read."""
        built = {u for date in self.done for u in self._nodes(date.tables)}
        with self.process.database() as database:
            database.plugin.show_released(self.process.manifest)
            for unique_id in sorted(built):
                node = self.process.manifest.nodes[unique_id]
                snapshots = database.session.registry.released_snapshots(node.name)
                if snapshots:
                    database.cursor.execute(
                        f"CREATE OR REPLACE VIEW {node.relation_name} AS {relation_sql(snapshots)}"
                    )


def _is_released(outcome: BuildOutcome) -> bool:
    return any(said.startswith(("released ", "unchanged release ")) for said in outcome.said)


def _first_possible(first_event: datetime, dates: Dates) -> datetime:
    """The first midnight, or else the first date of the step, after the first event."""
    midnight = first_event.replace(hour=0, minute=0, second=0, microsecond=0)
    return (
        midnight + timedelta(days=1)
        if dates.step % timedelta(days=1) == timedelta(0)
        else first_event
    )


def _released_days(database: BuildDatabase) -> list[datetime]:
    registry = database.session.registry
    found = {release.as_of for release in registry.releases()}
    found |= Attempts(registry.lake.root).all().keys()
    if not found:
        return []
    day = timedelta(days=1)
    first = min(found).replace(hour=0, minute=0, second=0, microsecond=0)
    between = {first + day * n for n in range((max(found) - first) // day + 1)}
    return sorted(found | {moment for moment in between if moment >= min(found)})
