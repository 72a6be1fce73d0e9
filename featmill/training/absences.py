"""When entities were gone (rules 11 and 20), for a lookup over released snapshots.

A snapshot holds every entity there is. One that it lacks, and an earlier one holds, was deleted or withdrawn: from the
snapshot's as_of on a lookup finds none of its older rows, until a snapshot holds the entity again. What was made before
the entity was known says nothing of it: a correction of an older as_of may hold what no later snapshot knew. Almost
always nothing vanished, and publishing has recorded so: then nothing is read to find it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import uuid4

from featmill.training.templates import render
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.lake import newest_per_as_of

if TYPE_CHECKING:
    import duckdb

    from featmill.warehouse.model import Snapshot

#: Sets of snapshots, by their ids and keys, among which no entity vanished: it stays so, they never change.
_COMPLETE: set[tuple[str, ...]] = set()


def absences(
    connection: duckdb.DuckDBPyConnection,
    snapshots: Sequence[Snapshot],
    relation: str,
    keys: Sequence[str],
) -> str | None:
    """The relation of absences, as `point_in_time_sql` takes it for a view's `gone`; None where nothing vanished.

    Args:
        connection: where a temporary table is made of them.
        snapshots: what `relation` reads, of one table; in any order.
        relation: the SQL of their rows, in parentheses.
        keys: the join keys.

    Raises:
        duckdb.Error: the relation cannot be read.
    """
    ordered = newest_per_as_of(snapshots)
    if all(_is_complete(one, following) for one, following in pairwise(ordered)):
        return None
    seen = (*(s.location + s.snapshot_id for s in ordered), *keys)
    if seen in _COMPLETE:
        return None
    # What a snapshot was made of: rows up to its cut-off, of two with the same the later one of more.
    learnt = sorted({(s.cut_off, s.published_at) for s in ordered})
    known = {made_of: number for number, made_of in enumerate(learnt)}
    listed = ", ".join(
        f"({literal(s.snapshot_id)}, TIMESTAMPTZ {literal(s.as_of.isoformat(sep=' '))}, "
        f"{known[s.cut_off, s.published_at]})"
        for s in ordered
    )
    held = f"(SELECT * FROM (VALUES {listed}) AS listed(snapshot_id, as_of, known))"
    sql = render("absences_sql", {"relation": relation, "keys": keys, "snapshots_sql": held})
    table = quote(f"_featmill_gone_{uuid4().hex}")
    connection.execute(f"CREATE TEMP TABLE {table} AS {sql}")
    if connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall():
        return table
    connection.execute(f"DROP TABLE {table}")
    _COMPLETE.add(seen)
    return None


def _is_complete(one: Snapshot, following: Snapshot) -> bool:
    """Whether publishing recorded that the following snapshot holds every entity of this one."""
    found = following.vanished
    return found is not None and found.since == one.snapshot_id and found.entities == 0
