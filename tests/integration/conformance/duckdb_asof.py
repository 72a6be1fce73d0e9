"""DuckDB's own ASOF tests, with the join replaced by our lookup and the rest of each query left as it is.

Both sides become tables. Values of the compared column become moments by rank over both sides, so any type with an
order will do; `<=` and `<` look ahead, which is looking back with the ranks reversed. What our lookup found is joined
by row id, and the query goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
from sqlglot import exp, parse_one

from featmill.training.templates import point_in_time_sql
from featmill.warehouse.columns import quote

#: How the cases spell DuckDB's infinite timestamps.
_INFINITE = {
    "294247-01-10T04:00:54.775807": "infinity",
    "-290308-12-21T19:59:05.224193": "-infinity",
}
KINDS = {"int": "BIGINT", "float": "DOUBLE", "string": "VARCHAR"}


@dataclass(frozen=True)
class Asof:
    """An ASOF join taken apart: `keys` are pairs of expressions of the left and of the right side."""

    select: exp.Expr
    join: exp.Expr
    keys: tuple[tuple[str, str], ...]
    left: str
    right: str
    is_ahead: bool
    is_strict: bool


def taken_apart(case: Mapping[str, Any]) -> tuple[exp.Expr, Asof] | str:
    """The parsed query and its join, or why our lookup has no words for it."""
    if any(kind == "other" for table in case["tables"].values() for _, kind in table["columns"]):
        return "a nested key is outside the type table (rule 16)"
    tree = parse_one(case["sql"], dialect="duckdb")
    joins = [join for join in tree.find_all(exp.Join) if join.args.get("method") == "ASOF"]
    if len(joins) != 1:
        return "not one ASOF join"
    (join,) = joins
    side = str(join.args.get("side") or join.args.get("kind") or "INNER").upper()
    if side not in ("INNER", "LEFT"):
        return f"{side}: a training set has exactly the spine's rows (rule 15)"
    if join.find_ancestor(exp.In):
        return "a subquery for each row"
    select = join.parent_select
    if select is None:
        return "a join outside a SELECT"
    names = {select.args["from_"].this.alias_or_name: "l", join.alias_or_name: "r"}
    if join.args.get("using"):
        columns = [identifier.name for identifier in join.args["using"]]
        left, right = names
        pairs = [(f"{left}.{quote(c)}", f"{right}.{quote(c)}") for c in columns]
        return tree, Asof(select, join, tuple(pairs[:-1]), *pairs[-1], False, False)
    return _conditions(tree, select, join, names)


def _conditions(
    tree: exp.Expr, select: exp.Expr, join: exp.Expr, names: Mapping[str, str]
) -> tuple[exp.Expr, Asof] | str:
    keys, times = [], []
    on = join.args["on"]
    for condition in on.flatten() if isinstance(on, exp.And) else [on]:
        if isinstance(condition, exp.EQ) and not list(condition.find_all(exp.Column)):
            continue  # 1 = 1
        if not isinstance(condition, exp.EQ | exp.GT | exp.GTE | exp.LT | exp.LTE):
            return "a condition that is neither a key nor a time"
        sides = [_side(operand, names) for operand in (condition.left, condition.right)]
        if sorted(sides) != ["l", "r"]:
            return "a condition on one side or on both at once"
        pair = {
            side: operand.sql(dialect="duckdb")
            for side, operand in zip(sides, (condition.left, condition.right), strict=True)
        }
        if isinstance(condition, exp.EQ):
            keys.append((pair["l"], pair["r"]))
        else:
            is_less = isinstance(condition, exp.LT | exp.LTE)
            times.append(
                (pair, is_less == (sides[0] == "l"), isinstance(condition, exp.LT | exp.GT))
            )
    if len(times) != 1:
        return "not one comparison of times"
    ((pair, is_ahead, is_strict),) = times
    return tree, Asof(select, join, tuple(keys), pair["l"], pair["r"], is_ahead, is_strict)


def _side(operand: exp.Expr, names: Mapping[str, str]) -> str:
    found = {names.get(column.table, "?") for column in operand.find_all(exp.Column)}
    return found.pop() if len(found) == 1 else "?"


def answered(case: Mapping[str, Any], tree: exp.Expr, asof: Asof) -> list[tuple[str | None, ...]]:
    """The query's rows as texts, with our lookup for its ASOF join."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in case["tables"].items():
            _create(connection, name, table)
        given = asof.select.args["from_"].this
        ctes = tree.args.get("with_") if asof.select is tree else None
        prefix = f"{ctes.sql(dialect='duckdb')} " if ctes is not None else ""
        for name, item in (("left_rows", given), ("right_rows", asof.join.this)):
            text = item.sql(dialect="duckdb")
            connection.execute(f"CREATE TABLE {name} AS {prefix}SELECT * FROM {text}")
        _look_up(connection, asof, given.alias_or_name, asof.join.alias_or_name)
        connection.execute(
            "SET VARIABLE found = (SELECT list(r ORDER BY left_rows.rowid) "
            "FROM left_rows LEFT JOIN found ON found.l = left_rows.rowid)"
        )
        right, left = asof.join.alias_or_name, given.alias_or_name
        place = f"{right}.rowid = list_extract(getvariable('found'), {left}.rowid + 1)"
        kind = "LEFT" if asof.join.args.get("side") else "INNER"
        given.replace(exp.to_table("left_rows").as_(left, table=True))
        asof.join.replace(
            exp.Join(
                this=exp.to_table("right_rows").as_(right, table=True),
                on=parse_one(place, dialect="duckdb"),
                **({"side": "LEFT"} if kind == "LEFT" else {"kind": "INNER"}),
            )
        )
        return connection.execute(
            f"SELECT COLUMNS(*)::VARCHAR FROM ({tree.sql(dialect='duckdb')})"
        ).fetchall()


def _look_up(connection: duckdb.DuckDBPyConnection, asof: Asof, left: str, right: str) -> None:
    """`found`: left row id -> right row id, by the macro that training sets run."""
    keys = [*asof.keys, ("1", "1")]
    places = range(len(keys))
    # Ranks are two apart, so one more is after this row's moment and before any other.
    sign, later = "-" if asof.is_ahead else "", " + 1" if asof.is_strict else ""
    connection.execute(
        f"CREATE TABLE ranks AS SELECT v, 2 * dense_rank() OVER (ORDER BY v) AS n FROM "
        f"(SELECT {asof.left} AS v FROM left_rows AS {quote(left)} UNION ALL "
        f"SELECT {asof.right} FROM right_rows AS {quote(right)}) WHERE v IS NOT NULL GROUP BY v"
    )
    asked = ", ".join(f"({keys[n][0]}) AS key_{n}" for n in places)
    held = ", ".join(f"({keys[n][1]}) AS key_{n}" for n in places)
    present = " AND ".join(f"key_{n} IS NOT NULL" for n in places)
    moment = "make_timestamptz({}CAST(n AS BIGINT){})"
    spine = (
        f"SELECT l, t, {', '.join(f'key_{n}' for n in places)} FROM (SELECT rowid AS l, {asof.left} AS v, {asked} "
        f"FROM left_rows AS {quote(left)}) JOIN (SELECT v AS rank_v, {moment.format(sign, '')} AS t FROM ranks) "
        f"ON v = rank_v WHERE {present} ORDER BY l"
    )
    rows = (
        f"(SELECT r, feature_at, make_timestamptz(CAST(r AS BIGINT)) AS published_at, 's' AS snapshot_id, "
        f"{', '.join(f'key_{n}' for n in places)} FROM (SELECT rowid AS r, {asof.right} AS v, {held} "
        f"FROM right_rows AS {quote(right)}) JOIN (SELECT v AS rank_v, {moment.format(sign, later)} AS feature_at "
        "FROM ranks) ON v = rank_v)"
    )
    view = {
        "name": "view",
        "relation": rows,
        "keys": [f"key_{n}" for n in places],
        "event_time": "feature_at",
        "ttl_us": None,
        "features": [{"name": "r", "ignore_nulls": False, "default_sql": "null"}],
    }
    sql = point_in_time_sql(spine, "t", [view], status=False, hidden=[])
    connection.execute(f"CREATE TABLE found AS SELECT l, view__r AS r FROM ({sql})")


def _create(connection: duckdb.DuckDBPyConnection, name: str, table: Mapping[str, Any]) -> None:
    columns = ", ".join(f"{quote(n)} {KINDS.get(kind, kind)}" for n, kind in table["columns"])
    connection.execute(f"CREATE TABLE {quote(name)} ({columns})")
    marks = ", ".join("?" for _ in table["columns"])
    rows = [
        [_INFINITE.get(cell, cell) if isinstance(cell, str) else cell for cell in row]
        for row in table["rows"]
    ]
    if rows:
        connection.executemany(f"INSERT INTO {quote(name)} VALUES ({marks})", rows)


def same(found: list[tuple[str | None, ...]], expected: list[list[str | None]]) -> bool:
    """The same bag of rows, numbers as numbers."""
    return sorted(map(_plain, found)) == sorted(map(_plain, expected))


def _plain(row: Any) -> list[str]:
    return [_text(value) for value in row]


def _text(value: str | None) -> str:
    if value is None:
        return "NULL"
    try:
        return repr(float(value))
    except ValueError:
        return value.strip()
