"""Run cases on engines and lay the verdicts out: case by engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from featmill.conformance.case import Case, load_cases
from featmill.conformance.events import SqlEvents
from featmill.conformance.feast_plugins import FeastPluginLookups
from featmill.conformance.feast_stores import FeastLookups
from featmill.conformance.lookup import PlannedLookups, SqlLookups
from featmill.conformance.spine_windows import SpineWindows
from featmill.conformance.verdict import Answer, Engine, Inexpressible, Outcome, Verdict, judge
from featmill.conformance.windows import SqlWindows
from featmill.errors import UsageError

#: Engine -> what it is, as a reader of the table knows it.
ENGINES: Mapping[str, str] = {
    "sql": "our SQL: the macros that `dbt build` and `featmill.point_in_time` run",
    "asof": "our ASOF join, narrowed to what the spine asks for",
    "interval": "our interval join",
    "equi": "our equality join of dense snapshots",
    "indexed": "our row index; windows by the kernel over sorted events",
    "spine": "our SQL for windows at each row's own time",
    "feast-featmill": "the Feast SDK over our offline store",
    "feast-duckdb": "stock Feast, its DuckDB offline store",
    "feast-dask": "stock Feast, its default offline store",
}
#: The engines that are ours: every case that they can express must come out ok.
OURS = ("sql", "asof", "interval", "equi", "indexed", "spine")

#: Kinds that name the tests that prove them instead of holding tables.
PROCESS = "process"


class ByKind:
    """One column of the table: of each kind of case that it knows, the engine that answers it."""

    def __init__(self, name: str, of_kind: Mapping[str, Engine]) -> None:
        self.name = name
        self._of_kind = of_kind

    def answer(self, case: Case) -> Answer:
        """The answer of the engine of the case's kind."""
        engine = self._of_kind.get(case.kind)
        return Inexpressible(f"no {case.kind}s") if engine is None else engine.answer(case)


_MAKERS: Mapping[str, Mapping[str, Callable[[], Engine]]] = {
    "sql": {"lookup": SqlLookups, "window": SqlWindows, "event": SqlEvents},
    "asof": {"lookup": lambda: PlannedLookups("asof")},
    "interval": {"lookup": lambda: PlannedLookups("interval")},
    "equi": {"lookup": lambda: PlannedLookups("equi")},
    "indexed": {
        "lookup": lambda: PlannedLookups("indexed"),
        "window": lambda: SpineWindows("indexed", "kernel"),
    },
    "spine": {"window": lambda: SpineWindows("spine", "sql")},
    "feast-featmill": {"lookup": FeastPluginLookups},
    "feast-duckdb": {"lookup": lambda: FeastLookups("duckdb")},
    "feast-dask": {"lookup": lambda: FeastLookups("dask")},
}


def make_engine(name: str) -> Engine:
    """The engine called `name`.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in _MAKERS:
        raise UsageError(f"there is no engine {name!r}", hint=f"one of: {', '.join(_MAKERS)}")
    return ByKind(name, {kind: make() for kind, make in _MAKERS[name].items()})


def knows(engine: str, kind: str) -> bool:
    """Whether an engine has words for cases of this kind at all."""
    return kind in _MAKERS[engine]


def data_cases() -> list[Case]:
    """The cases that hold tables; the others name the tests that prove them."""
    return [case for case in load_cases() if case.kind != PROCESS]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Every verdict: `outcomes[case id][engine]`."""

    cases: tuple[Case, ...]
    engines: tuple[str, ...]
    outcomes: Mapping[str, Mapping[str, Outcome]]

    def count(self, engine: str, verdict: Verdict) -> int:
        """How many cases came to this verdict on this engine."""
        return Counter(by_engine[engine].verdict for by_engine in self.outcomes.values())[verdict]

    def failures(self, engine: str) -> list[Outcome]:
        """What an engine got wrong or fell over."""
        wrong = (Verdict.WRONG, Verdict.ERROR)
        found = [by_engine[engine] for by_engine in self.outcomes.values()]
        return [outcome for outcome in found if outcome.verdict in wrong]


def run(
    engines: Sequence[str],
    cases: Sequence[Case] | None = None,
    on_case: Callable[[Outcome], None] | None = None,
) -> Matrix:
    """Run cases (default: all that hold tables) on these engines; `on_case` hears of each outcome as it comes.

    Raises:
        UsageError: there is no engine of a name.
    """
    import duckdb

    chosen = data_cases() if cases is None else list(cases)
    outcomes: dict[str, dict[str, Outcome]] = {case.id: {} for case in chosen}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for engine in map(make_engine, engines):
            for case in chosen:
                outcome = judge(connection, case, engine.name, engine.answer(case))
                outcomes[case.id][engine.name] = outcome
                if on_case is not None:
                    on_case(outcome)
    return Matrix(tuple(chosen), tuple(engines), outcomes)
