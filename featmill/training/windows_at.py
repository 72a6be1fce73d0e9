"""Windows at arbitrary times: each window evaluated exactly at every row's own moment, from the events (rule 4).

Two engines give the same answer to the bit. `sql` is a range join, the macro `windows_at_sql`; `kernel` sorts the
events once, finds both edges of every window by bisection and reads sums off prefix sums. `auto` takes the kernel, and
SQL where the kernel refuses a type or a sum it cannot hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from featmill.errors import ContractError, KernelRefused, LakeError, SpineError, UsageError
from featmill.training.kernels.event_index import index_fingerprint
from featmill.training.templates import render
from featmill.warehouse.columns import quote
from featmill.warehouse.event_log import events_sql
from featmill.warehouse.event_log_index import event_index_root

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from featmill.contract.catalog import Feature
    from featmill.training.kernels.event_arrays import EventArrays
    from featmill.warehouse.event_log import EventLog

Engine = Literal["auto", "sql", "kernel"]

_BATCH_ROWS = 65_536
_TEXTS = frozenset({"VARCHAR", "UUID"})


@dataclass(frozen=True, slots=True)
class WindowsRequest:
    """What is asked for: windows of one feature table at the rows of a spine.

    `spine` is SQL without NULLs in `time` and `keys`; `time` is its column with each row's moment, TIMESTAMPTZ or
    TIMESTAMP in UTC. Columns are called `<name>__<feature>`, and with `status` one more is `<name>__status`: `ok`, or
    `missing` where the entity was not known before the moment (rule 20): it had no event, and `entities`, SQL with the
    keys and `known_at` (TIMESTAMP), names it for no moment before. `index` is a folder of event indexes, None is the
    one beside the log.
    """

    name: str
    spine: str
    time: str
    keys: tuple[str, ...]
    log: EventLog
    features: tuple[Feature, ...]
    status: bool = False
    index: Path | None = None
    entities: str | None = None


@dataclass(frozen=True, slots=True)
class How:
    """How to evaluate: the engine, whether with a status, and the folder of event indexes with the one that fits."""

    engine: Engine = "auto"
    status: bool = False
    index: Path | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Windows:
    """The answer, one row per row of the spine and in its order; `engine` and `why` say how it was made."""

    engine: str
    why: str
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]

    def reader(self) -> pa.RecordBatchReader:
        """The rows, as they are computed; it can be read once."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, self.batches)


def windows_at(
    connection: duckdb.DuckDBPyConnection, request: WindowsRequest, *, engine: Engine = "auto"
) -> Windows:
    """Evaluate windows at the spine's moments.

    Args:
        connection: where the spine can be read; its TimeZone is UTC.
        request: what is asked for.
        engine: `auto`, or the one to use.

    Raises:
        ContractError: a feature declares no window.
        KernelRefused: the kernel was asked for by name and cannot hold the values.
        LakeError: the event log has no column for a declared expression.
        SpineError: a key of the spine is spelled otherwise or of another kind than the events' (rule 16).
        UsageError: there is no such engine.
    """
    if not request.features:
        raise UsageError(f"no window of {request.name} was asked for")
    view = view_of(request.name, request.keys, request.log, request.features)
    view["entities"] = None if request.entities is None else f"({request.entities})"
    root = event_index_root(request.log.location) if request.index is None else request.index
    how = How(engine, request.status, root, index_fingerprint(request.log))
    return windows_of(connection, (request.spine, request.time), view, how)


def index_events(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    keys: Sequence[str],
    log: EventLog,
    features: Sequence[Feature],
) -> Path:
    """Keep the events of a log sorted beside it, so that `windows_at` over it need not sort them; indexes before it go.

    Args:
        connection: where to read the log.
        name: the feature table.
        keys: its join keys.
        log: its event log, as it will be asked for.
        features: the windows that will be asked for.

    Returns:
        The index's folder.

    Raises:
        ContractError: a feature declares no window.
        KernelRefused: the kernel cannot hold the values; then there is nothing to index.
        LakeError: the event log has no column for a declared expression.
    """
    view = view_of(name, keys, log, features)
    return build_event_index(
        connection, view, event_index_root(log.location), index_fingerprint(log)
    )


def find_event_index(
    name: str, keys: Sequence[str], log: EventLog, features: Sequence[Feature]
) -> tuple[Path, EventArrays] | None:
    """The index of a log that fits these windows, with its folder; None where there is none.

    Raises:
        ContractError: a feature declares no window.
        LakeError: the event log cannot be read, or has no column for a declared expression.
    """
    from featmill.training.kernels.event_arrays import expressions_of
    from featmill.training.kernels.event_index import index_folder, load_event_index

    root, fingerprint = event_index_root(log.location), index_fingerprint(log)
    wanted = expressions_of(view_of(name, keys, log, features)["features"])
    events, _ = load_event_index(root, fingerprint, wanted, keys)
    return None if events is None else (index_folder(root, fingerprint), events)


def view_of(
    name: str, keys: Sequence[str], log: EventLog, features: Sequence[Feature]
) -> dict[str, Any]:
    """Declared windows as the macro `windows_at_sql` takes them: their expressions are columns of the event log.

    Raises:
        ContractError: a feature declares no window.
        LakeError: the event log has no column for a declared expression.
    """
    return {
        "name": name,
        "keys": list(keys),
        "events": f"({events_sql(log)})",
        "event_at": "event_at",
        "ingested_at": "ingested_at",
        "event_id": "event_id",
        "features": [_declared(name, log, feature) for feature in features],
    }


def windows_of(
    connection: duckdb.DuckDBPyConnection,
    spine: tuple[str, str],
    view: Mapping[str, Any],
    how: How,
) -> Windows:
    """The same over a view as the macro `windows_at_sql` takes it; `spine` is its SQL and its time column.

    Raises:
        KernelRefused: the kernel was asked for by name and cannot hold the values.
        SpineError: a key of the spine is spelled otherwise or of another kind than the events' (rule 16).
        UsageError: there is no such engine.
    """
    if how.engine not in get_args(Engine):
        raise UsageError(
            f"there is no engine {how.engine!r}", hint=f"one of {', '.join(get_args(Engine))}"
        )
    _check_keys(connection, spine[0], view)
    if how.engine == "sql":
        return _by_sql(connection, spine, view, how, "it was asked for")
    try:
        return _by_kernel(connection, spine, view, how)
    except KernelRefused as refused:
        if how.engine == "kernel":
            raise
        return _by_sql(connection, spine, view, how, f"the kernel refused: {refused.message}")


def build_event_index(
    connection: duckdb.DuckDBPyConnection, view: Mapping[str, Any], root: Path, fingerprint: str
) -> Path:
    """Sort a view's events and keep them, with all that its features derive of them, as the index of a fingerprint.

    Returns:
        The index's folder, below `root`.

    Raises:
        KernelRefused: the kernel cannot hold the values; then there is nothing to index.
    """
    from featmill.training.kernels.evaluate import Asked, evaluate, plan_features
    from featmill.training.kernels.event_arrays import expressions_of, read_events
    from featmill.training.kernels.event_index import write_event_index

    planned = plan_features(connection, view)
    events = read_events(connection, view, expressions_of(view["features"]))
    for _ in evaluate(events, Asked.nothing(planned), view, planned):
        pass  # at no moment at all: what features derive of the events is derived
    return write_event_index(root, fingerprint, events)


def _by_sql(
    connection: duckdb.DuckDBPyConnection,
    spine: tuple[str, str],
    view: Mapping[str, Any],
    how: How,
    why: str,
) -> Windows:
    sql = str(render("windows_at_sql", *spine, view, status=how.status, only=True))
    reader = connection.sql(sql).to_arrow_reader(_BATCH_ROWS)
    return Windows("sql", why, reader.schema, iter(reader))


def _by_kernel(
    connection: duckdb.DuckDBPyConnection, spine: tuple[str, str], view: Mapping[str, Any], how: How
) -> Windows:
    from featmill.training.kernels.evaluate import evaluate, plan_features, read_spine_moments

    planned = plan_features(connection, view)
    events, why = _events(connection, view, how)
    asked = read_spine_moments(connection, spine, events, view, planned)
    tables = evaluate(events, asked, view, planned)
    # All that can be refused is refused by the first chunk: sums are bounded over all events, not over a chunk's.
    first = _wanted(next(tables), view, how)
    rest = (_wanted(table, view, how) for table in tables)
    batches = (
        batch
        for table in chain([first], rest)
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS)
    )
    return Windows("kernel", why, first.schema, batches)


def _events(
    connection: duckdb.DuckDBPyConnection, view: Mapping[str, Any], how: How
) -> tuple[EventArrays, str]:
    """The sorted events, from the index where there is one, and where they are from."""
    from featmill.training.kernels.event_arrays import expressions_of, read_events
    from featmill.training.kernels.event_index import load_event_index

    wanted = expressions_of(view["features"])
    why = "no event index was given"
    if how.index is not None:
        found, why = load_event_index(how.index, how.fingerprint, wanted, view["keys"])
        if found is not None:
            return found, why
    return read_events(connection, view, wanted), f"events sorted in this call: {why}"


def _wanted(table: pa.Table, view: Mapping[str, Any], how: How) -> pa.Table:
    return table if how.status else table.drop_columns([f"{view['name']}__status"])


def _declared(name: str, log: EventLog, feature: Feature) -> dict[str, Any]:
    """A feature as its `meta.feature` spells it, over the columns of the event log."""
    window = feature.window
    if window is None:
        raise ContractError(
            f"{name}.{feature.name} declares no window (meta.feature.aggregate)",
            hint="it has no value at any time but those of its snapshots: read it from them",
        )
    texts = {"value": window.value, "of": window.of, "where": window.where}
    length = "lifetime" if window.length is None else _spelled(window.length)
    return {
        "name": feature.name,
        "data_type": feature.type.sql,
        "aggregate": window.aggregate,
        "default": feature.default,
        "scale": window.scale,
        "n": window.n,
        "calendar": window.calendar,
        "zone": window.zone,
        "window": None if window.calendar else length,
        "hop": "exact" if window.hop is None else _spelled(window.hop),
        "delay": _spelled(window.delay),
        **{key: text and _column(name, log, text) for key, text in texts.items()},
    }


def _column(name: str, log: EventLog, text: str) -> str:
    column = log.expressions.get(text)
    if column is None:
        raise LakeError(
            f"the event log of {name} at {log.location} has no column for {text!r}",
            hint="it was declared since: build and publish the table first",
        )
    return column


def _spelled(duration: timedelta) -> str:
    return f"{duration // timedelta(seconds=1)}s"


def _check_keys(connection: duckdb.DuckDBPyConnection, spine: str, view: Mapping[str, Any]) -> None:
    """Refuse a key that one side has as text and the other not: DuckDB would cast it in silence (rule 16)."""
    keys = ", ".join(quote(key) for key in view["keys"])
    mine, theirs = (
        {str(row[0]): str(row[1]) for row in found}
        for found in (
            connection.execute(f"DESCRIBE SELECT {keys} FROM {relation}").fetchall()
            for relation in (f"({spine})", view["events"])
        )
    )
    for key in view["keys"]:
        for side, found in (("the spine", mine), (f"the events of {view['name']}", theirs)):
            if key not in found:  # DuckDB finds it in any case
                spelled = next(name for name in found if name.lower() == key.lower())
                raise SpineError(
                    f"{side} has no column {key}, it has {spelled}",
                    hint="name the key as it is declared",
                )
        if (mine[key] in _TEXTS) != (theirs[key] in _TEXTS):
            raise SpineError(
                f"key {key} is {mine[key]} in the spine and {theirs[key]} in the events of {view['name']}",
                hint="cast it in the spine; a key is never converted in silence (rule 16)",
            )
