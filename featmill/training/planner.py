"""Which engine joins each feature table to a spine, and why.

Every engine gives the same answer to the bit; only the cost differs. The plan reads like this:

    plan = planner.plan(connection, planner.Join(spine.sql, MOMENT, views, status=True, hidden=(MOMENT,)))
    for batch in plan.reader(65_536): ...
    for choice in plan.explain(): ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmill.errors import UsageError
from featmill.training.templates import point_in_time_sql

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

#: What `engine=` may be; `auto` lets statistics decide.
ENGINES = ("auto", "asof", "equi", "interval", "indexed")


@dataclass(frozen=True, slots=True)
class Join:
    """What to join: a spine's SQL, its column with each row's moment, and the views.

    `views` are as the macro `point_in_time_sql` takes them; where a view also has `snapshots` (the released snapshots
    that its relation reads), the planner knows that each is unique per key and time, and may use their index.
    `status` adds `view__status` and the time that was found; `hidden` columns of the spine are not in the answer.
    """

    spine: str
    time: str
    views: Sequence[dict[str, Any]]
    status: bool = False
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One view's engine and the reasons for it; `rows` of the view and `labels` of the spine, None where not counted."""

    view: str
    engine: str
    why: str
    rows: int | None = None
    labels: int | None = None
    prefilters: tuple[str, ...] = ()
    index: str = "none"


@dataclass(frozen=True, slots=True)
class Plan:
    """A join that is ready to run on the connection it was planned on."""

    connection: duckdb.DuckDBPyConnection
    sql: str
    choices: tuple[Choice, ...]

    def reader(self, batch_rows: int) -> pa.RecordBatchReader:
        """The joined rows in the spine's order, at most `batch_rows` a batch, as they are computed.

        Raises:
            duckdb.Error: the spine or a view cannot be read.
        """
        return self.connection.sql(self.sql).to_arrow_reader(batch_rows)

    def explain(self) -> tuple[Choice, ...]:
        """What was chosen, view by view."""
        return self.choices


def plan(connection: duckdb.DuckDBPyConnection, join: Join, *, engine: str = "auto") -> Plan:
    """Choose an engine for each view.

    Raises:
        UsageError: there is no such engine.
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}", hint=f"one of: {', '.join(ENGINES)}")
    sql = point_in_time_sql(
        join.spine, join.time, list(join.views), status=join.status, hidden=list(join.hidden)
    )
    choices = tuple(Choice(str(view["name"]), "asof", "the general engine") for view in join.views)
    return Plan(connection, sql, choices)
