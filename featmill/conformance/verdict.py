"""What an engine answered to a case, and whether that is what the rules demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from featmill.conformance.case import Case, Refusal

if TYPE_CHECKING:
    import duckdb


class Verdict(StrEnum):
    """What came of one case on one engine."""

    OK = "ok"
    WRONG = "WRONG"
    ERROR = "error"
    INEXPRESSIBLE = "not expressible"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as an engine gave them.

    `spine_rows` holds, for each, the number of the spine's row it answers (0, 1, ...), in the order they came; None
    where the answer has no spine. `keeps_order` says that the engine promises the spine's order.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    spine_rows: Sequence[int] | None = None
    keeps_order: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """The engine refused the input, as it should or not. `error` is our error's class, empty for another project's."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The engine fell over something that no rule speaks of."""

    message: str


@dataclass(frozen=True, slots=True)
class Inexpressible:
    """The engine has no words for the case."""

    reason: str


Answer = Rows | Refused | Broken | Inexpressible


class Engine(Protocol):
    """Something that answers cases."""

    name: str

    def answer(self, case: Case) -> Answer:
        """The answer to a case of a kind that is not `process`; never raises for what the case holds."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case on one engine: the verdict and, where it is not ok, why."""

    case: Case
    engine: str
    verdict: Verdict
    detail: str = ""


def judge(
    connection: duckdb.DuckDBPyConnection, case: Case, engine: str, answer: Answer
) -> Outcome:
    """Compare an answer with what the case expects; `connection` only casts the expected cells to their types."""
    match answer:
        case Inexpressible(reason):
            return Outcome(case, engine, Verdict.INEXPRESSIBLE, reason)
        case Broken(message):
            return Outcome(case, engine, Verdict.ERROR, message)
        case Refused(error, message):
            return _judge_refusal(case, engine, error, message)
        case Rows():
            return _judge_rows(connection, case, engine, answer)


def _judge_refusal(case: Case, engine: str, error: str, message: str) -> Outcome:
    wanted = case.expected
    if not isinstance(wanted, Refusal):
        return Outcome(case, engine, Verdict.WRONG, f"refused: {message}")
    # Another engine's error has another name and other words: that it refuses is what counts.
    unsaid = [text for text in wanted.says if text not in message]
    if error and (error != wanted.error or unsaid):
        detail = f"expected {wanted.error} saying {', '.join(wanted.says)}; got {error}: {message}"
        return Outcome(case, engine, Verdict.WRONG, detail)
    return Outcome(case, engine, Verdict.OK)


def _judge_rows(
    connection: duckdb.DuckDBPyConnection, case: Case, engine: str, answer: Rows
) -> Outcome:
    if not isinstance(case.expected, Refusal) and case.expected is not None:
        wanted = _wanted(connection, case, answer.columns)
        given = _given(answer)
        if given == wanted:
            return Outcome(case, engine, Verdict.OK)
        return Outcome(case, engine, Verdict.WRONG, f"expected {wanted}; got {given}")
    return Outcome(case, engine, Verdict.WRONG, f"accepted; expected {case.expected}")


def _wanted(
    connection: duckdb.DuckDBPyConnection, case: Case, columns: Sequence[str]
) -> list[tuple[Any, ...]]:
    """The expected rows, each with its number; of a column that an engine does not give nothing is expected."""
    table = case.expected
    if table is None or isinstance(table, Refusal):
        return []
    rows = connection.execute(table.sql()).fetchall()
    places = [table.names.index(name) for name in columns]
    return [(number, *(row[place] for place in places)) for number, row in enumerate(rows)]


def _given(answer: Rows) -> list[tuple[Any, ...]]:
    numbers = range(len(answer.rows)) if answer.spine_rows is None else answer.spine_rows
    rows = [(number, *row) for number, row in zip(numbers, answer.rows, strict=True)]
    return rows if answer.keeps_order else sorted(rows, key=lambda row: row[0])
