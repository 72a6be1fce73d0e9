"""Erasure: an entity's rows out of everything that featmill keeps of it (rule 9: only erasure rewrites).

What is rewritten: every published table with the key, its event logs, its Iceberg mirror; row indexes are removed, to
be built again. What is not featmill's own is not touched: the sources, the build database (the next build takes it from
the sources) and training sets that were written; these are named, so that their owner can act.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featmill import clock
from featmill.errors import UsageError
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.event_log_index import event_index_root
from featmill.warehouse.lake import relation_sql
from featmill.warehouse.maintenance import Maintenance, erase_rows
from featmill.warehouse.row_index import index_root
from featmill.warehouse.training_pins import pins

if TYPE_CHECKING:
    import pyarrow as pa

    from featmill.contract.catalog import Catalog, FeatureTable
    from featmill.warehouse.lake import Lake
    from featmill.warehouse.model import Snapshot


@dataclass(frozen=True, slots=True)
class Erased:
    """What became of one table. `rows` by snapshot, as readers saw them; `event_rows` over all of its event logs."""

    table: str
    rows: Mapping[str, int]
    event_rows: int


def keys_of(catalog: Catalog, wanted: Mapping[str, str]) -> pa.Table:
    """One row with the key columns that are to be erased, each of its contract type.

    Raises:
        UsageError: no published table has all of these keys, or a value is not of the key's type.
    """
    import duckdb

    tables = tables_with(catalog, wanted)
    types = {key.name: key.type.sql for table in tables for key in table.join_keys}
    listed = ", ".join(
        f"{literal(value)}::{types[name]} AS {quote(name)}" for name, value in wanted.items()
    )
    try:
        with duckdb.connect() as connection:
            return connection.sql(f"SELECT {listed}").to_arrow_table()
    except duckdb.Error as error:
        said = ", ".join(f"{name} {types[name]}" for name in wanted)
        raise UsageError(f"the keys are {said}: {str(error).splitlines()[0]}") from error


def tables_with(catalog: Catalog, names: Mapping[str, str] | Sequence[str]) -> list[FeatureTable]:
    """The published tables that have all of these key columns.

    Raises:
        UsageError: there is none.
    """
    found = [t for t in catalog.tables if t.publish_node and set(names) <= set(t.key_names)]
    if not found:
        known = sorted({key for table in catalog.tables for key in table.key_names})
        raise UsageError(
            f"no published table has the key {', '.join(names)}", hint=f"keys: {', '.join(known)}"
        )
    return found


def erase(lake: Lake, table: str, keys: pa.Table, blanked: Sequence[str] = ()) -> Erased:
    """Erase the rows with these keys from every snapshot of a table, or blank columns of them.

    Args:
        lake: where it is.
        table: its published name.
        keys: the keys, a row each; their columns are key columns of the table.
        blanked: feature columns to set to NULL instead of deleting the row.

    Raises:
        LakeError: a table could not be rewritten. Run again, it erases what is left.
    """
    snapshots = lake.snapshots(table)
    rows: dict[str, int] = {}
    event_rows = 0
    for location in dict.fromkeys(s.location for s in snapshots):
        here = [s for s in snapshots if s.location == location]
        held = _held(here, keys)
        if held:
            erase_rows(Path(location), keys, blanked, Maintenance("erased", clock.now(), held))
            shutil.rmtree(index_root(here), ignore_errors=True)
        rows |= held
        event_rows += 0 if blanked else _erase_events(Path(location), keys)
    return Erased(table, rows, event_rows)


def training_sets_with(lake: Lake, erased: Sequence[Erased]) -> list[str]:
    """The manifests of training sets that were made of a snapshot that lost rows."""
    lost = {(one.table, snapshot) for one in erased for snapshot in one.rows}
    return [
        made.manifest
        for made in pins(lake)
        if any((table, one) in lost for table, ids in made.snapshots.items() for one in ids)
    ]


def _held(snapshots: Sequence[Snapshot], keys: pa.Table) -> dict[str, int]:
    """Snapshot id -> the rows with these keys that reading it gives."""
    import duckdb

    names = ", ".join(quote(name) for name in keys.column_names)
    with duckdb.connect() as connection:
        connection.register("gone", keys)
        found = connection.execute(
            f"SELECT snapshot_id, count(*) FROM ({relation_sql(snapshots)}) SEMI JOIN gone USING ({names}) GROUP BY ALL"
        ).fetchall()
    return {str(snapshot): int(rows) for snapshot, rows in found}


def _erase_events(location: Path, keys: pa.Table) -> int:
    """Every generation of the table's event log: `<table>/events/v<version>/g<n>`."""
    done = Maintenance("erased", clock.now())
    erased = 0
    for log in sorted((location.parent / "events" / location.name).glob("g*/_delta_log")):
        erased += int(erase_rows(log.parent, keys, (), done)["num_target_rows_deleted"])
        shutil.rmtree(event_index_root(log.parent), ignore_errors=True)
    return erased
