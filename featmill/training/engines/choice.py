"""Choosing one view's engine from statistics."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from featmill.errors import IndexUnusable, UsageError
from featmill.training.absences import absences
from featmill.training.engines.indexed import IndexedView
from featmill.training.engines.prefilters import (
    Narrowing,
    SpineStatistics,
    distinct_keys,
    narrowed,
    spine_statistics,
)
from featmill.warehouse.row_index import ABSENT, RowIndex, find_index
from featmill.warehouse.row_statistics import RowStatistics, row_statistics

if TYPE_CHECKING:
    import duckdb

    from featmill.training.planner import Join

LOG = logging.getLogger(__name__)

#: What `engine=` may be; `auto` lets statistics decide.
ENGINES = ("auto", "asof", "equi", "interval", "indexed")
#: Below this many rows any engine answers at once, and counting the spine's keys costs more than it saves.
FEW_ROWS = 100_000
#: An interval join compares each label with every row of its key: worth it up to this many pairs for each row read.
_PAIRS_PER_ROW = 4
#: Equality reads each row once and pays more for each label than ASOF, which sorts the rows. CPU s of equi and ASOF,
#: 30 daily snapshots, 4 values: 1M rows by 100k labels 0.19, 0.34; 500k 0.54, 0.54; 1M 1.04, 0.84; 3M 3.44, 2.03;
#: 3M rows by 300k 0.46, 1.01; 1M 1.26, 1.32. With 100 snapshots the same.
_ROWS_PER_LABEL = 2


@dataclass(frozen=True, slots=True)
class Choice:
    """One view's engine and the reasons for it; `rows` of the view and `labels` of the spine, None where not counted.

    `index` is the state of the view's row index; `is_index_ignored` whether there is one that could not be used.
    """

    view: str
    engine: str
    why: str
    rows: int | None = None
    labels: int | None = None
    prefilters: tuple[str, ...] = ()
    index: str = ABSENT
    is_index_ignored: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """A choice and what its engine needs: the narrowed view, and the opened index or the snapshots' moments."""

    choice: Choice
    view: dict[str, Any]
    indexed: IndexedView | None = None
    index: RowIndex | None = None
    moments: tuple[int, ...] = ()


class SpineFacts:
    """What is counted of a spine, once and only where it is asked for."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, join: Join) -> None:
        self.connection, self.join = connection, join
        self._asked: dict[tuple[str, ...], int] = {}

    @cached_property
    def statistics(self) -> SpineStatistics:
        """Its rows and bounds."""
        return spine_statistics(self.connection, self.join.spine, self.join.time)

    def keys(self, columns: tuple[str, ...]) -> int:
        """About how many keys it asks for."""
        if columns not in self._asked:
            self._asked[columns] = distinct_keys(self.connection, f"({self.join.spine})", columns)
        return self._asked[columns]


def choose(view: dict[str, Any], spine: SpineFacts, engine: str) -> Chosen:
    """One view's engine: the one that is asked for, or the cheapest that statistics allow.

    Raises:
        UsageError: the engine that is asked for cannot join this view.
    """
    gone = absences(spine.connection, view.get("snapshots") or (), view["relation"], view["keys"])
    if gone is not None:
        return _with_absences(view, gone, engine)
    index, state, is_ignored = None, "not looked for", False
    if engine in ("auto", "indexed"):
        index, state, is_ignored = _index(view, spine.connection)
    if index is not None:
        rows = index[0].header.rows
        choice = Choice(
            view["name"], "indexed", "its row index is of these snapshots", rows, index=state
        )
        return Chosen(choice, view, indexed=index[1], index=index[0])
    if engine == "indexed":
        raise _refused(view, engine, state)
    return _by_rows(view, spine, engine, (state, is_ignored))


def _with_absences(view: dict[str, Any], gone: str, engine: str) -> Chosen:
    """Entities vanished: of the engines only ASOF leaves out their older rows (rule 11)."""
    if engine not in ("auto", "asof"):
        raise _refused(view, engine, "some of its entities vanished from a snapshot")
    why = "some of its entities vanished from a snapshot, which the other engines do not see"
    return Chosen(Choice(view["name"], "asof", why), {**view, "gone": gone})


def _index(
    view: dict[str, Any], connection: duckdb.DuckDBPyConnection
) -> tuple[tuple[RowIndex, IndexedView] | None, str, bool]:
    """The view's index where it can be used, its state, and whether there is one that cannot be used."""
    snapshots = view.get("snapshots")
    if not snapshots:
        return None, "none: its rows are not those of released snapshots", False
    try:
        index = find_index(snapshots, str(view["relation"])[1:-1])
        return (index, IndexedView(connection, index, view)), "used", False
    except IndexUnusable as error:
        is_ignored = error.message != ABSENT
        if is_ignored:
            LOG.warning(
                "the row index of %s is ignored: %s; featmill index builds it anew",
                view["name"],
                error.message,
            )
        return None, error.message, is_ignored


def _by_rows(
    view: dict[str, Any], spine: SpineFacts, engine: str, index: tuple[str, bool]
) -> Chosen:
    rows = row_statistics(spine.connection, view["relation"], view["event_time"])
    is_gated = bool(view.get("snapshots"))
    is_unique = is_gated and rows.is_disjoint
    view = {**view, "unique": is_unique}
    is_dense = is_gated and rows.is_dense
    labels = spine.statistics.rows
    chosen, why = engine, "asked for"
    if engine == "auto":
        chosen, why = _cheapest(view, rows, labels)
    if chosen == "equi" and not is_dense:
        raise _refused(view, engine, "its snapshots do not each have one event time of their own")
    why += "; one row per key and time by the gate" if is_unique else "; ties are sorted out first"
    # An interval join drops the keys that nobody asks for by itself.
    keys = (0, 0) if chosen == "interval" else _keys(view, spine, rows)
    join = spine.join
    by = Narrowing(join.spine, spine.statistics, rows, *keys, join.status)
    view, left_out = narrowed(view, by)
    state, is_ignored = index
    choice = Choice(view["name"], chosen, why, rows.rows, labels, left_out, state, is_ignored)
    moments = tuple(s.first for s in rows.snapshots) if chosen == "equi" else ()
    return Chosen(choice, view, moments=moments)


def _cheapest(view: dict[str, Any], rows: RowStatistics, labels: int) -> tuple[str, str]:
    """The engine and the reason for it."""
    most = max((s.rows for s in rows.snapshots), default=0)
    if view.get("valid_to") is not None and labels <= rows.rows and most:
        pairs = labels * rows.rows // most
        if pairs <= _PAIRS_PER_ROW * rows.rows:
            return (
                "interval",
                f"its rows say until when they hold, and there are about {pairs:,} pairs",
            )
    if view["unique"] and rows.is_dense and len(rows.snapshots) > 1 and rows.rows >= FEW_ROWS:
        if labels * _ROWS_PER_LABEL <= rows.rows:
            return "equi", "each snapshot has one event time, so labels find it by equality"
        return "asof", "for so many labels sorting the rows is cheaper than looking snapshots up"
    return "asof", "the general engine"


def _keys(view: dict[str, Any], spine: SpineFacts, rows: RowStatistics) -> tuple[int, int]:
    """About how many keys the view has and the spine asks for; zeros where counting costs more than it saves."""
    if rows.rows < FEW_ROWS or spine.statistics.rows >= rows.rows:
        return 0, 0
    asked = spine.keys(tuple(view["keys"]))
    if view["unique"]:
        # By the gate a snapshot has as many keys as rows, or fewer.
        return max(s.rows for s in rows.snapshots), asked
    return distinct_keys(spine.connection, view["relation"], view["keys"]), asked


def _refused(view: dict[str, Any], engine: str, why: str) -> UsageError:
    return UsageError(
        f"engine {engine} cannot join {view['name']}: {why}",
        hint="without --engine, the planner takes one that can",
    )
