"""Labels with a horizon: a row whose label is not mature at the set's cut-off is refused or dropped, and counted.

Rule 17. What happens within the horizon decides a label: one that is taken earlier says "no" of what has not happened
yet, and a model learns that recent rows are negative.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from featmill.errors import SpineError
from featmill.training.spine import MOMENT, SpineColumns, check_time, moment_sql
from featmill.warehouse.columns import literal

if TYPE_CHECKING:
    import duckdb

    from featmill.training.request import Recipe
    from featmill.training.spine import Spine


def mature_rows(
    connection: duckdb.DuckDBPyConnection, spine: Spine, recipe: Recipe
) -> tuple[Spine, dict[str, int]]:
    """The spine's mature rows, and how many rows are mature and how many are not; all and none without a label.

    A label is mature where its moment plus the horizon is not after the cut-off.

    Raises:
        SpineError: the label's column is no time or has NULLs, or rows are immature and to be refused.
    """
    label = recipe.label
    if label is None:
        return spine, {}
    moment = MOMENT if label.at is None else _moment(connection, spine, recipe)
    horizon = f"to_microseconds({round(label.horizon.total_seconds() * 1_000_000)})"
    cut_off = f"TIMESTAMPTZ {literal(recipe.cut_off.isoformat(sep=' '))}"
    mature = f"{moment} + {horizon} <= {cut_off}"
    row = connection.execute(
        f"SELECT count(*) FILTER (WHERE {mature}), count(*) FILTER (WHERE NOT {mature}), "
        f"count(*) FILTER (WHERE ({mature}) IS NULL) FROM ({spine.sql})"
    ).fetchall()[0]
    counts = {"mature": int(row[0]), "immature": int(row[1])}
    if row[2]:
        raise SpineError(f"{spine.name} has NULLs in {label.at} in {row[2]:,} rows (rule 17)")
    if counts["immature"] and label.immature == "refuse":
        raise SpineError(
            f"{spine.name}: {counts['immature']:,} rows have a label that is not mature at the cut-off "
            f"{recipe.cut_off:%Y-%m-%d %H:%M:%S} UTC, a horizon of {label.horizon} after it began (rule 17)",
            hint="build up to a later cut-off, or leave these rows out: --immature drop",
        )
    if not counts["immature"]:
        return spine, counts
    return replace(spine, sql=f"SELECT * FROM ({spine.sql}) WHERE {mature}"), counts


def _moment(connection: duckdb.DuckDBPyConnection, spine: Spine, recipe: Recipe) -> str:
    at = str(recipe.label.at) if recipe.label is not None else ""
    if at not in spine.columns:
        raise SpineError(
            f"{spine.name} has no column {at}, which the label's horizon begins at",
            hint=f"it has: {', '.join(spine.columns)}",
        )
    wanted = SpineColumns(at, {}, recipe.zone)
    check_time(connection, spine.name, spine.source, spine.columns[at], wanted)
    return f"({moment_sql(at, spine.columns[at], recipe.zone)})"
