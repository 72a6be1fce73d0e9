"""The feature tables of two builds at one moment, compared: equal by content hash, or what differs and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.errors import BuildError
from featmill.leakage.finding import Finding
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.identity import content_hash, only_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from featmill.leakage.project import Model

CHECK = "altered sources"


@dataclass(frozen=True, slots=True)
class Built:
    """A feature table as a build left it, kept in the comparing connection: `relation` is its copy there."""

    model: Model
    relation: str
    columns: tuple[str, ...]
    rows: int
    digest: str


def keep(
    connection: duckdb.DuckDBPyConnection, database: Path, models: Sequence[Model], label: str
) -> list[Built]:
    """Copy the feature tables out of a build database that dbt has closed.

    Raises:
        BuildError: a feature table is not there or cannot be read.
    """
    import duckdb

    built = []
    connection.execute(f"ATTACH {literal(str(database))} AS built (READ_ONLY)")
    try:
        for model in models:
            relation = f"memory.main.{quote(f'{label}__{model.name}')}"
            inside = model.relation.partition(".")[2]  # "build"."main"."feat_x"
            connection.execute(f"CREATE TABLE {relation} AS SELECT * FROM built.{inside}")
            columns = [str(row[0]) for row in connection.execute(f"DESCRIBE {relation}").fetchall()]
            rows, digest = content_hash(connection, columns, relation)
            built.append(Built(model, relation, tuple(columns), rows, digest))
    except duckdb.Error as error:
        raise BuildError(f"the feature tables of {database} cannot be read: {error}") from error
    finally:
        connection.execute("DETACH built")
    return built


def drop(connection: duckdb.DuckDBPyConnection, built: Sequence[Built]) -> None:
    """Forget the copies of a build."""
    for table in built:
        connection.execute(f"DROP TABLE {table.relation}")


def compare(
    connection: duckdb.DuckDBPyConnection, base: Built, altered: Built, how: str
) -> list[Finding]:
    """What differs: a finding for each column, and one for entities that are there in one of the builds only.

    `how` says what was done to the sources, such as `1,204 rows after 2026-01-31 deleted`.
    """
    if base.digest == altered.digest:
        return []
    keys = [str(key) for key in (base.model.feature_table or {}).get("join_keys", ())]
    joined = (
        f"(SELECT *, true AS _is FROM {base.relation}) AS a FULL JOIN "
        f"(SELECT *, true AS _is FROM {altered.relation}) AS b USING ({', '.join(map(quote, keys))})"
    )
    conditions: list[tuple[str | None, str]] = [(None, "a._is IS NULL OR b._is IS NULL")]
    conditions += [
        (name, f"a._is AND b._is AND a.{quote(name)} IS DISTINCT FROM b.{quote(name)}")
        for name in base.columns
        if name not in keys
    ]
    found = []
    for column, condition in conditions:
        rows, example = _example(connection, joined, condition, keys)
        if rows:
            what = "another value" if column is not None else "not the same entities"
            message = f"{what} in {rows:,} row{'' if rows == 1 else 's'}, such as {example}: {how}"
            found.append(Finding(CHECK, base.model.file, base.model.name, message, column=column))
    return found


def _example(
    connection: duckdb.DuckDBPyConnection, joined: str, condition: str, keys: Sequence[str]
) -> tuple[int, str]:
    """How many rows a condition holds for, and the least key of them."""
    texts = " || ', ' || ".join(f"{literal(key + ' ')} || {quote(key)}::VARCHAR" for key in keys)
    rows, example = only_row(
        connection, f"SELECT count(*), min({texts}) FROM {joined} WHERE {condition}"
    )
    return int(rows), str(example)
