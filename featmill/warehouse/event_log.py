"""The event log: the events behind a feature table's windows, kept so that these can be evaluated at any time.

One append-only Delta table beside the feature table's own, `<lake>/<tenant>/<table>/events/v<version>/g<n>`. A commit's
metadata says how far the log reaches (`cut_off`, the bookmark on `ingested_at` of rule 9) and what its columns are:

| column | what it holds |
|---|---|
| the join keys | as the events name them |
| `event_at`, `ingested_at`, `event_id` | the total order of rule 8, whatever the events name these columns |
| `v1`, `v2`, ... | one per distinct `value` or `of` that is declared |
| `w1`, `w2`, ... | one per distinct `where`, true or false |

A log is only ever continued by what it would have held anyway. Where other columns are declared, or the events it holds
are not what the build reads up to the same moment, a new generation `g<n+1>` begins, and what was written stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featmill.errors import ContractError, LakeError
from featmill.warehouse.columns import literal, published_expression, quote
from featmill.warehouse.delta_files import data_files
from featmill.warehouse.identity import only_row, rows_digest_sql
from featmill.warehouse.maintenance import MAINTENANCE_KEY
from featmill.warehouse.model import Snapshot

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from featmill.warehouse.lake import Lake

__all__ = [
    "EventLog",
    "EventSource",
    "append_events",
    "event_log_of",
    "events_sql",
    "find_event_log",
    "read_event_log",
]

#: The names that rule 8's order goes by in every log.
EVENT_AT, INGESTED_AT, EVENT_ID = "event_at", "ingested_at", "event_id"

_METADATA_KEY = "featmill.events"
_KEEP = "interval 36500 days"
_BATCH_ROWS = 65_536
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EventLog:
    """An event log as it stood at one commit, read up to one moment. Times are aware, UTC.

    `expressions` gives the column of each declared `value`, `of` and `where`; `keys` are the join keys; `types` the
    DuckDB type of each column, in order. The log is complete up to `cut_off` and read no further.
    """

    location: str
    delta_version: int
    cut_off: datetime
    expressions: Mapping[str, str]
    keys: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    digest: int = 0

    @property
    def reference(self) -> str:
        """`g<generation>@<version>`: what a snapshot says of it."""
        return f"{Path(self.location).name}@{self.delta_version}"

    @property
    def is_there(self) -> bool:
        """Whether its commit still lies where it was made."""
        return (Path(self.location) / "_delta_log" / f"{self.delta_version:020}.json").is_file()


@dataclass(frozen=True, slots=True)
class EventSource:
    """The events that `featmill.windows` read for one feature table, as SQL names them.

    `values` and `conditions` are the distinct declared expressions over them, in the order of the columns.
    """

    table: str
    tenant: str
    version: str
    relation: str
    keys: tuple[str, ...]
    event_at: str = EVENT_AT
    ingested_at: str = INGESTED_AT
    event_id: str = EVENT_ID
    values: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    @property
    def expressions(self) -> dict[str, str]:
        """Each declared expression with the column that holds it.

        A text that is declared as a value and as a condition is one column: a value that is true or false.
        """
        found = {text: f"v{number}" for number, text in enumerate(self.values, start=1)}
        alone = [text for text in self.conditions if text not in found]
        return found | {text: f"w{number}" for number, text in enumerate(alone, start=1)}

    def select(self) -> str:
        """The log's columns over the relation."""
        named = {EVENT_AT: self.event_at, INGESTED_AT: self.ingested_at, EVENT_ID: self.event_id}
        columns = [quote(key) for key in self.keys]
        columns += [f"{quote(column)} AS {name}" for name, column in named.items()]
        for text, name in self.expressions.items():
            is_condition = name.startswith("w")
            sql = f"coalesce(CAST(({text}) AS BOOLEAN), false)" if is_condition else f"({text})"
            columns.append(f"{sql} AS {name}")
        return f"SELECT {', '.join(columns)} FROM {self.relation}"


def append_events(
    cursor: duckdb.DuckDBPyConnection, lake: Lake, source: EventSource, cut_off: datetime
) -> EventLog:
    """Bring the log of a feature table up to a cut-off, and return it as it is read there.

    A log that reaches further already is left as it is. Nothing is ever removed or rewritten.

    Raises:
        ContractError: the events have no relation or a column that a log cannot hold.
        LakeError: the log could not be written or is not ours; nothing was committed.
    """
    types = _types(cursor, source)
    folder = _folder(lake.location(source.table, source.version, source.tenant))
    newest = _newest_generation(folder)
    if newest is not None and _continues(cursor, newest, source, types, cut_off):
        if cut_off <= newest.cut_off:
            return _until(newest, cut_off)
        return _append(cursor, source, newest, cut_off)
    number = 1 if newest is None else _number(Path(newest.location)) + 1
    empty = EventLog(
        location=str(folder / f"g{number}"),
        delta_version=-1,
        cut_off=_NEVER,
        expressions=source.expressions,
        keys=source.keys,
        types=types,
    )
    return _append(cursor, source, empty, cut_off)


def event_log_of(snapshot: Snapshot) -> EventLog | None:
    """The log behind a snapshot, as it was when the snapshot was published and up to its cut-off.

    Returns:
        None where the snapshot was published without one.

    Raises:
        LakeError: the log is gone or not ours.
    """
    if snapshot.events is None:
        return None
    generation, _, version = snapshot.events.partition("@")
    location = _folder(Path(snapshot.location)) / generation
    return read_event_log(location, delta_version=int(version), cut_off=snapshot.cut_off)


def find_event_log(lake: Lake, table: str, *, cut_off: datetime | None = None) -> EventLog | None:
    """The log of a table's newest snapshot, read up to a cut-off or, without one, as far as it reaches.

    A generation that no snapshot refers to (its build was killed or refused) is never found.

    Returns:
        None where no snapshot of the table has a log. Its `cut_off` is earlier than what was asked for where the log
        does not reach so far.

    Raises:
        LakeError: the log is gone or not ours.
    """
    kept = [snapshot for snapshot in lake.snapshots(table) if snapshot.events is not None]
    if not kept:
        return None
    newest = kept[-1]
    generation = str(newest.events).partition("@")[0]
    return read_event_log(_folder(Path(newest.location)) / generation, cut_off=cut_off)


def read_event_log(
    location: Path | str, *, delta_version: int | None = None, cut_off: datetime | None = None
) -> EventLog:
    """A log by its place: at one version or the newest, up to a cut-off or as far as it reaches.

    Raises:
        LakeError: there is none, or somebody else wrote to it.
    """
    place = Path(location)
    commits = _commits(place)
    wanted = max(commits) if delta_version is None else delta_version
    if wanted not in commits:
        raise LakeError(f"the event log at {place} has no version {wanted}")
    log = _load(commits[wanted], place, wanted)
    return log if cut_off is None else _until(log, cut_off)


def events_sql(log: EventLog) -> str:
    """A DuckDB `SELECT` of the log's rows with `ingested_at` up to its cut-off, with the types they came in."""
    columns = ", ".join(_restored(name, kind) for name, kind in log.types.items())
    # The newest version: what was appended later is past the cut-off, and what was erased is in no earlier file.
    paths = data_files(_open(Path(log.location)))
    if not paths:
        typed = ", ".join(f"NULL::{kind} AS {quote(name)}" for name, kind in log.types.items())
        return f"SELECT {typed} WHERE false"
    listed = ", ".join(literal(path) for path in paths)
    return (
        f"SELECT {columns} FROM read_parquet([{listed}]) "
        f"WHERE {INGESTED_AT} <= TIMESTAMPTZ {literal(_utc(log.cut_off) + '+00')}"
    )


def _continues(
    cursor: duckdb.DuckDBPyConnection,
    log: EventLog,
    source: EventSource,
    types: Mapping[str, str],
    cut_off: datetime,
) -> bool:
    """Whether the log holds what the build reads, up to where both reach: the same columns and the same rows."""
    declared = (source.keys, source.expressions, list(types.items()))
    if declared != (log.keys, dict(log.expressions), list(log.types.items())):
        return False
    held = (log.rows, log.digest)
    if cut_off < log.cut_off:
        held = _count_and_hash(cursor, types, f"({events_sql(_until(log, cut_off))})")
    until = min(cut_off, log.cut_off)
    return held == _count_and_hash(cursor, types, f"({_between(source, _NEVER, until)})")


def _append(
    cursor: duckdb.DuckDBPyConnection, source: EventSource, log: EventLog, cut_off: datetime
) -> EventLog:
    """Commit the events ingested after the log's cut-off; a commit without rows moves the bookmark alone."""
    from deltalake import CommitProperties, write_deltalake
    from deltalake.exceptions import DeltaError

    new = _between(source, log.cut_off, cut_off)
    rows, digest = _count_and_hash(cursor, log.types, f"({new})")
    metadata = {
        "table": source.table,
        "cut_off": cut_off.isoformat(),
        "keys": log.keys,
        "types": list(log.types.items()),
        "expressions": dict(log.expressions),
        "rows": log.rows + rows,
        "digest": str(log.digest + digest),
    }
    columns = ", ".join(published_expression(name, kind) for name, kind in log.types.items())
    order = ", ".join(quote(name) for name in (*log.keys, EVENT_AT, INGESTED_AT, EVENT_ID))
    reader = cursor.sql(f"SELECT {columns} FROM ({new}) ORDER BY {order}")
    location = Path(log.location)
    location.mkdir(parents=True, exist_ok=True)
    try:
        write_deltalake(
            str(location),
            reader.to_arrow_reader(_BATCH_ROWS),
            mode="append",
            configuration={
                "delta.logRetentionDuration": _KEEP,
                "delta.deletedFileRetentionDuration": _KEEP,
                "delta.appendOnly": "true",
            },
            commit_properties=CommitProperties(
                custom_metadata={_METADATA_KEY: json.dumps(metadata)}
            ),
        )
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"{source.table}: the events could not be written to {location}: {error}",
            hint="nothing was published; free space, mend the folder's permissions or cast the value, and build again",
        ) from error
    return read_event_log(location)


def _types(cursor: duckdb.DuckDBPyConnection, source: EventSource) -> dict[str, str]:
    """The log's columns with their DuckDB types."""
    import duckdb

    names = [*source.keys, EVENT_AT, INGESTED_AT, EVENT_ID, *source.expressions.values()]
    if len({name.lower() for name in names}) < len(names):
        raise ContractError(
            f"{source.table}: a join key of {', '.join(source.keys)} has the name of a column of the event log",
            hint=f"a log has {EVENT_AT}, {INGESTED_AT}, {EVENT_ID}, v1, v2, ... and w1, w2, ...; rename the key",
        )
    try:
        described = cursor.execute(f"DESCRIBE {source.select()}").fetchall()
    except duckdb.Error as error:
        raise ContractError(
            f"{source.table}: keep_events, but the events of its windows cannot be read after the build: {error}",
            hint="give featmill.windows a ref() of a model that is a table or a view",
        ) from error
    return {str(row[0]): str(row[1]) for row in described}


def _between(source: EventSource, after: datetime, until: datetime) -> str:
    """The events ingested in `(after, until]`."""
    within = f"{INGESTED_AT} <= TIMESTAMP {literal(_utc(until))}"
    if after > _NEVER:
        within += f" AND {INGESTED_AT} > TIMESTAMP {literal(_utc(after))}"
    return f"SELECT * FROM ({source.select()}) WHERE {within}"


def _count_and_hash(
    cursor: duckdb.DuckDBPyConnection, types: Mapping[str, str], relation: str
) -> tuple[int, int]:
    rows, digest = only_row(cursor, rows_digest_sql(list(types), relation))
    return int(rows), int(digest)


def _restored(name: str, kind: str) -> str:
    """A column of the log as the type it came in."""
    is_naive = kind.upper() in ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS")
    value = f"timezone('UTC', {quote(name)})" if is_naive else quote(name)
    return f"{value}::{kind} AS {quote(name)}"


def _until(log: EventLog, cut_off: datetime) -> EventLog:
    return replace(log, cut_off=min(cut_off, log.cut_off))


def _folder(table: Path) -> Path:
    """Where the logs of a feature table's schema version lie."""
    return table.parent / "events" / table.name


def _newest_generation(folder: Path) -> EventLog | None:
    found = [log.parent for log in folder.glob("g*/_delta_log") if any(log.glob("*.json"))]
    return read_event_log(max(found, key=_number)) if found else None


def _number(generation: Path) -> int:
    return int(generation.name.removeprefix("g"))


def _open(location: Path, version: int | None = None) -> DeltaTable:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        return DeltaTable(str(location), version=version)
    except (DeltaError, OSError) as error:
        raise LakeError(f"the event log at {location} cannot be read: {error}") from error


def _commits(location: Path) -> dict[int, str]:
    """What each commit says of the log, of which all are asked: delta-rs numbers those of an older version wrongly."""
    found = {}
    for commit in _open(location).history():
        text = commit.get(_METADATA_KEY)
        if MAINTENANCE_KEY in commit:
            continue
        if text is None:
            raise LakeError(
                f"the event log at {location}: version {commit.get('version')} was not written by featmill",
                hint="move the folder away: the next build writes the log anew",
            )
        found[int(commit["version"])] = str(text)
    return found


def _load(text: str, location: Path, delta_version: int) -> EventLog:
    fields: dict[str, Any] = json.loads(text)
    return EventLog(
        location=str(location),
        delta_version=delta_version,
        cut_off=datetime.fromisoformat(fields["cut_off"]),
        expressions=fields["expressions"],
        keys=tuple(fields["keys"]),
        types=dict(fields["types"]),
        rows=int(fields["rows"]),
        digest=int(fields["digest"]),
    )


def _utc(moment: datetime) -> str:
    """A moment in UTC without its zone, as DuckDB's literals want it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
