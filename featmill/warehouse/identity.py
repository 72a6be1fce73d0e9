"""A snapshot's identity (rule 19): what was read, what came out, and the id that ties them to the definition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from featmill.warehouse.columns import quote
from featmill.warehouse.model import SourceVersion

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class SourceRelation:
    """A source as SQL can read it; `loaded_at` is dbt's `loaded_at_field`, None for reference data."""

    name: str
    relation: str
    loaded_at: str | None


def parse_moment(text: str) -> datetime:
    """A moment in UTC: a text without a zone, as DuckDB prints timestamps, is UTC already."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def compact(moment: datetime) -> str:
    """A moment as it stands in ids: sortable, no punctuation. Microseconds only where there are any."""
    pattern = "%Y%m%dT%H%M%S.%fZ" if moment.microsecond else "%Y%m%dT%H%M%SZ"
    return moment.astimezone(UTC).strftime(pattern)


def only_row(cursor: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The row of a query that has one. All is fetched: DuckDB 2 refuses further work on an unfinished result."""
    return tuple(cursor.execute(sql).fetchall()[0])


def rows_digest_sql(columns: list[str], relation: str, where: str = "true") -> str:
    """SQL for `(rows, digest)`: the digest is the same for the same bag of rows in any order.

    Each row is hashed as the JSON list of its columns' texts (NULL and '' stay apart, nothing can run together); the
    md5 numbers are summed, so unlike XOR a row that stands twice does not cancel out.
    """
    texts = ", ".join(f"{quote(column)}::VARCHAR" for column in columns)
    return (
        f"SELECT count(*), coalesce(sum(md5_number_lower(to_json([{texts}])::VARCHAR)::HUGEINT), 0)::VARCHAR "
        f"FROM {relation} WHERE {where}"
    )


def source_version(
    cursor: duckdb.DuckDBPyConnection, source: SourceRelation, cut_off: datetime
) -> SourceVersion:
    """Count and hash what a build at this cut-off reads of a source.

    A row whose `loaded_at` is NULL or unreadable cannot be placed before the cut-off: it is not read (rule 9).
    """
    described = cursor.execute(f"DESCRIBE SELECT * FROM {source.relation}").fetchall()
    columns = [str(row[0]) for row in described]
    where, newest = "true", None
    if source.loaded_at is not None:
        moment = cut_off.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
        # Through TIMESTAMPTZ: a text may carry its own offset, which a cast to TIMESTAMP would drop in silence.
        loaded = f"timezone('UTC', try_cast({source.loaded_at} AS TIMESTAMPTZ))"
        where = f"{loaded} <= TIMESTAMP '{moment}'"
        found = only_row(cursor, f"SELECT max({loaded}) FROM {source.relation} WHERE {where}")[0]
        newest = found.replace(tzinfo=UTC) if found is not None else None
    rows, digest = only_row(cursor, rows_digest_sql(columns, source.relation, where))
    return SourceVersion(
        source=source.name,
        rows=int(rows),
        digest=_digest([columns, int(rows), digest]),
        newest=newest,
    )


def content_hash(
    cursor: duckdb.DuckDBPyConnection, columns: list[str], relation: str
) -> tuple[int, str]:
    """`(rows, hash)` of any relation, to compare it with another; a snapshot's own is `Content.hash`."""
    ordered = sorted(columns)
    rows, digest = only_row(cursor, rows_digest_sql(ordered, relation))
    return int(rows), _digest([ordered, int(rows), digest])


@dataclass(frozen=True, slots=True)
class Content:
    """The rows of a candidate as its identity counts them.

    `digest` is the sum of the rows' own (`row_digest_sql`), so rows that come and go are added and subtracted. `as_of`
    is what a restated event time stands for; None where the candidate has no event time that could be one.
    """

    columns: tuple[str, ...]
    rows: int
    digest: int
    as_of: datetime | None

    @property
    def hash(self) -> str:
        """Feature content only, publish metadata excluded (rule 9)."""
        as_of = None if self.as_of is None else self.as_of.astimezone(UTC).isoformat()
        return _digest([sorted(self.columns), self.rows, str(self.digest), as_of])


def row_digest_sql(types: Mapping[str, str], side: str, restated: Mapping[str, str]) -> str:
    """SQL for a row's part of `Content.digest`: md5 of its columns' texts, as `rows_digest_sql` makes them.

    Args:
        types: each column's DuckDB type.
        side: the alias of the relation in the query.
        restated: column -> the SQL of whether it only restates the as_of: then its value does not count, that it does
            so counts. It is the same digest at each as_of.
    """
    texts = []
    for name in sorted(types):
        value = f"{side}.{quote(name)}"
        if types[name] == "TIMESTAMP WITH TIME ZONE":
            value = f"timezone('UTC', {value})"  # its text is the session's zone's
        text = f"{value}::VARCHAR"
        texts.append(
            f"CASE WHEN {restated[name]} THEN 'as_of' ELSE {text} END" if name in restated else text
        )
    return f"md5_number_lower(to_json([{', '.join(texts)}])::VARCHAR)::HUGEINT"


@dataclass(frozen=True, slots=True)
class SnapshotIdentity:
    """What makes a snapshot that snapshot and no other (rule 19)."""

    as_of: datetime
    cut_off: datetime
    fingerprint: str
    sources: tuple[SourceVersion, ...]
    content_hash: str

    def snapshot_id(self, ordinal: int) -> str:
        """`<as_of>-<ordinal>-<hash>`: sorts by as_of, then by correction, and names the whole identity.

        `ordinal` counts the snapshots of this as_of before, so that of two corrections the later one has the higher id
        (rule 13).
        """
        identity = _digest(
            [
                self.as_of.isoformat(),
                self.fingerprint,
                [[s.source, s.rows, s.digest] for s in self.sources],
                self.cut_off.isoformat(),
                self.content_hash,
            ]
        )
        return f"{compact(self.as_of)}-{ordinal:04d}-{identity[:10]}"


def release_id(as_of: datetime, snapshots: dict[str, str]) -> str:
    """`<as_of>-<hash of the table snapshots>`: the same set of snapshots is the same release."""
    return f"{compact(as_of)}-{_digest(sorted(snapshots.items()))[:10]}"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
