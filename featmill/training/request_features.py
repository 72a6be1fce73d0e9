"""Request features over a spine: the expressions that a request would run, at each row's moment (rule 2).

The spine has the request fields as columns; the stored features are those that the row found, with defaults. DuckDB
runs each expression over them, in the types and with the clock that it has at request time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.errors import ContractError, SpineError, UsageError
from featmill.serving.request.features import check_expressions, columns_read, stored_columns
from featmill.serving.request.sql import AS_OF, connect, input_sql, value_sql
from featmill.training.computed import Computed, StoredInput
from featmill.training.spine import SpineColumns, check_time, moment_sql
from featmill.training.views import answer_columns
from featmill.warehouse.columns import published_expression, quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    import pyarrow as pa

    from featmill.contract.catalog import Catalog, RequestField
    from featmill.contract.types import FeatureType
    from featmill.training.request import Recipe, TrainingRequest
    from featmill.training.spine import Spine

_BATCH = "_featmill_batch"
_REALS = frozenset({"REAL", "DOUBLE"})
#: DuckDB type -> kind, of those that a request field may be cast from; DECIMAL, ENUM and lists beside.
_KINDS = {
    **dict.fromkeys(
        ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT"), "number"
    ),
    **dict.fromkeys(
        ("UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "REAL", "INT", "DOUBLE"), "number"
    ),
    **dict.fromkeys(("VARCHAR", "TEXT", "UUID"), "text"),
    **dict.fromkeys(("DATE", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"), "time"),
    **dict.fromkeys(("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "time"),
    "TIMESTAMPTZ_NS": "time",
}


def computed_of(catalog: Catalog, request: TrainingRequest) -> Computed | None:
    """What a request's service computes on request, None where there is no service or it computes nothing.

    Raises:
        ContractError: an expression is wrong.
        UsageError: an expression reads a stored feature of the service that was not asked for.
    """
    if request.service is None:
        return None
    service = catalog.service(request.service)
    if not service.request_features:
        return None
    stored = stored_columns(catalog, service)
    types = {name: kind for name, (_, kind) in stored.items()}
    problems = check_expressions(service, types)
    if problems:
        raise ContractError("\n".join(problems))
    read = columns_read(service, types)
    absent = [
        str(ref)
        for name, (ref, _) in stored.items()
        if name in read and ref not in request.features
    ]
    if absent:
        raise UsageError(
            f"the request features of {service.name} read {', '.join(absent)}, which was not asked for",
            hint="ask for all features of the service",
        )
    return Computed(
        service=service.name,
        fields=tuple(field for field in service.request_fields if field.name in read),
        features=service.request_features,
        stored=tuple(
            StoredInput(name=name, column=f"{ref.view}__{ref.feature}", type=kind)
            for name, (ref, kind) in stored.items()
            if name in read
        ),
    )


def redeclared(computed: Computed | None, catalog: Catalog | None) -> list[str]:
    """The request features that the project declares otherwise by now, a line each."""
    if computed is None or catalog is None:
        return []
    by_name = {service.name: service for service in catalog.services}
    if computed.service not in by_name:
        return [f"other declaration: there is no service {computed.service} now"]
    now = {feature.name: feature for feature in by_name[computed.service].request_features}
    lines = []
    for then in computed.features:
        found = now.get(then.name)
        if found is None or (found.sql, found.type) != (then.sql, then.type):
            what = "not at all" if found is None else f"by `{found.sql}`"
            lines.append(
                f"other declaration: {computed.service} computes {then.name} {what} now, "
                f"the set has `{then.sql}`"
            )
    return lines


def check_computed(connection: duckdb.DuckDBPyConnection, spine: Spine, recipe: Recipe) -> None:
    """Refuse a spine that request features cannot be computed over.

    Raises:
        SpineError: a request field is no column, or has values that are none of its type; or a column has the name of
            a request feature.
    """
    computed = recipe.computed
    if computed is None:
        return
    others = [name for table in recipe.answered for name in answer_columns(table, recipe.added)]
    taken = {name.lower() for name in (*spine.columns, *others)}
    clash = sorted(one.name for one in computed.features if one.name.lower() in taken)
    if clash:
        raise SpineError(
            f"{spine.name} already has a column {', '.join(clash)}, which is a request feature of {computed.service}",
            hint="rename it in the spine",
        )
    missing = [field.name for field in computed.fields if field.name not in spine.columns]
    if missing:
        raise SpineError(
            f"{spine.name} has no column {', '.join(missing)}, a request field of {computed.service}",
            hint="the spine has what a caller would have sent: a column for each request field",
        )
    for field in computed.fields:
        _check_field(connection, spine, recipe, field)


def with_computed(recipe: Recipe, spine: Spine, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The rows with the recipe's request features as last columns, batch by batch; the same rows where it has none."""
    import pyarrow as pa

    if recipe.computed is None:
        return rows
    sql = _computed_sql(recipe.computed, recipe, spine)
    with connect() as connection:
        empty = pa.RecordBatch.from_pylist([], schema=rows.schema)
        schema = _computed(connection, sql, empty).schema

    def batches() -> Iterator[pa.RecordBatch]:
        with connect() as connection:
            for batch in rows:
                yield _computed(connection, sql, batch)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _computed(
    connection: duckdb.DuckDBPyConnection, sql: str, batch: pa.RecordBatch
) -> pa.RecordBatch:
    """A batch with the request features beside its columns."""
    import pyarrow as pa

    connection.register(_BATCH, pa.Table.from_batches([batch]))
    found = connection.sql(sql).to_arrow_table().combine_chunks()
    arrays = [
        column.chunk(0) if batch.num_rows else pa.array([], column.type) for column in found.columns
    ]
    names = [*batch.schema.names, *found.column_names]
    return pa.RecordBatch.from_arrays([*batch.columns, *arrays], names)


def _computed_sql(computed: Computed, recipe: Recipe, spine: Spine) -> str:
    moment = moment_sql(spine.time, spine.columns[spine.time], recipe.zone)
    inputs = [f"({moment})::TIMESTAMP AS {AS_OF}"]
    for field in computed.fields:
        value = _field_sql(field, spine.columns[field.name], recipe.zone)
        inputs.append(f"{value} AS {quote(field.name)}")
    inputs += [
        f"{_typed(quote(one.column), one.type)} AS {quote(one.name)}" for one in computed.stored
    ]
    values = ", ".join(
        f"{value_sql(one.sql, one.type)} AS {quote(one.name)}" for one in computed.features
    )
    published = ", ".join(
        published_expression(one.name, input_sql(one.type)) for one in computed.features
    )
    return (
        f"SELECT {published} FROM (SELECT {values} FROM (SELECT {', '.join(inputs)} FROM {_BATCH}))"
    )


def _check_field(
    connection: duckdb.DuckDBPyConnection, spine: Spine, recipe: Recipe, field: RequestField
) -> None:
    """Refuse a column of another kind, and values that a caller could not have sent."""
    given, column = spine.columns[field.name], quote(field.name)
    kind = _kind(field.type.sql)
    if _kind(given) != kind:
        raise SpineError(
            f"{spine.name}: request field {field.name} is {given}, the contract says {field.type.sql}",
            hint="cast it in the spine; it is what a caller would have sent",
        )
    if field.type.sql.startswith("TIMESTAMP"):
        wanted = SpineColumns(field.name, {}, recipe.zone)
        check_time(connection, spine.name, spine.source, given, wanted)
        return
    there = f"{column} IS NOT NULL"
    if given in ("FLOAT", "DOUBLE"):
        there += f" AND NOT isnan({column})"
    cast = f"TRY_CAST({column} AS {field.type.sql})"
    wrong = f"{cast} IS NULL"
    if field.type.sql not in ("REAL", "UUID"):
        # There and back: a caller's 1.5 for a whole number would be refused, and so is the spine's.
        wrong += f" OR TRY_CAST({cast} AS {given}) IS DISTINCT FROM {column}"
    counted = f"SELECT count(*) FROM ({spine.sql}) WHERE {there} AND ({wrong})"
    rows = connection.execute(counted).fetchall()[0][0]
    if rows:
        raise SpineError(
            f"{spine.name}: request field {field.name} has values that are no {field.type.sql} in {rows:,} rows",
            hint="a request would be refused with them: mend them in the spine",
        )


def _field_sql(field: RequestField, given: str, zone: str | None) -> str:
    """A request field as an expression sees it."""
    if field.type.sql.startswith("TIMESTAMP"):
        return f"({moment_sql(field.name, given, zone)})::{field.type.sql}"
    return _typed(quote(field.name), field.type)


def _typed(column: str, kind: FeatureType) -> str:
    """A column in its contract type; NaN is no value, since online it is none."""
    value = f"CAST({column} AS {kind.sql})"
    if input_sql(kind) != kind.sql:
        value = f"CAST({value} AS {input_sql(kind)})"
    return f"CASE WHEN NOT isnan({value}) THEN {value} END" if kind.sql in _REALS else value


def _kind(name: str) -> str:
    """Which types can be cast into each other without being something else."""
    if name.endswith("]"):
        return f"list of {_kind(name.rpartition('[')[0])}"
    if name.startswith("DECIMAL"):
        return "number"
    return "text" if name.startswith("ENUM") else _KINDS.get(name, name)
