"""Historical features as lookups: each Feast view becomes a view of the planner, joined to the entity rows.

What a lookup finds is decided where training sets are made (rules 11 to 16), so it is the same here. Feast's own part
is only the names: aliased views, mapped join keys, mapped columns, and features without their view's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID

from exporters.feast.plugins.tables import view_table
from featmill.contract.types import FeatureType, parse_type
from featmill.errors import NoRelease, SpineError
from featmill.training import planner
from featmill.training.absences import absences
from featmill.training.spine import MOMENT, SpineColumns, check_spine
from featmill.training.templates import point_in_time_sql
from featmill.training.views import check_released, view_of
from featmill.warehouse.columns import literal, quote

if TYPE_CHECKING:
    import duckdb
    from feast import FeatureView, RepoConfig

    from exporters.feast.plugins.entities import EntityRows

_BATCH_ROWS = 65_536
_ROWS = "entity_df"


@dataclass(frozen=True, slots=True)
class Lookup:
    """One Feast view: the planner's view, its keys' types, what the entity rows call each key, and the answer's names.

    `outputs` is the column in the planner's answer -> the name in Feast's.
    """

    view: dict[str, Any]
    types: Mapping[str, FeatureType]
    keys: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def is_keyless(self) -> bool:
        """Whether the view has no entity: one row at a time, for everybody."""
        return DUMMY_ENTITY_ID in self.types


@dataclass(slots=True)
class Pass:
    """Lookups that can share one spine: no two of them want different columns under one key's name."""

    lookups: list[Lookup] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    types: dict[str, FeatureType] = field(default_factory=dict)

    def takes(self, lookup: Lookup) -> bool:
        """Add a lookup where it fits."""
        if any(self.keys.get(key, column) != column for key, column in lookup.keys.items()):
            return False
        self.lookups.append(lookup)
        self.keys |= lookup.keys
        self.types |= lookup.types
        return True

    @property
    def views(self) -> list[dict[str, Any]]:
        """The planner's views."""
        return [lookup.view for lookup in self.lookups]

    def spine(self, time: str, relation: str) -> str:
        """What the entity rows are for this pass: their time, and the keys by the tables' own names."""
        keys = [
            f"'' AS {quote(key)}" if key == DUMMY_ENTITY_ID else f"{quote(column)} AS {quote(key)}"
            for key, column in self.keys.items()
            if key != time
        ]
        return f"(SELECT {', '.join([quote(time), *keys])} FROM {relation})"


def lookup_of(
    view: FeatureView,
    features: Sequence[str],
    config: RepoConfig,
    number: int,
    *,
    full_feature_names: bool,
) -> Lookup:
    """The lookup of some features of a view.

    Raises:
        NoRelease: its table has never been released.
        UsageError: there is no such feature, or the view's source is not ours.
    """
    found = view_table(view, config, features)
    table, defaults = found.table, config.offline_store.defaults
    snapshots = found.source.registry(config).released_snapshots(table.name)
    if not snapshots:
        raise NoRelease(f"{table.name} has never been released", hint="build it first: dbt build")
    planned = view_of(table, table.features, snapshots) | {"name": f"v{number}"}
    if not defaults:
        planned["features"] = [one | {"default_sql": "null"} for one in planned["features"]]
    # As published: how Feast stores a key online says nothing of the column it is looked up in.
    types = {key.name: parse_type(key.type.sql) for key in table.join_keys}
    mapped = view.projection.join_key_map
    if not types:
        types = {DUMMY_ENTITY_ID: parse_type("VARCHAR")}
        planned |= {
            "keys": [DUMMY_ENTITY_ID],
            "relation": f"(SELECT *, '' AS {quote(DUMMY_ENTITY_ID)} FROM {planned['relation']})",
        }
    prefix = f"{view.projection.name_to_use()}__" if full_feature_names else ""
    return Lookup(
        view=planned,
        types=types,
        keys={key: mapped.get(found.in_feast(key), found.in_feast(key)) for key in types},
        outputs={f"v{number}__{found.column(name)}": f"{prefix}{name}" for name in features},
    )


def passes(lookups: Sequence[Lookup]) -> list[Pass]:
    """The lookups in as few passes as the names of their keys allow."""
    found: list[Pass] = []
    for lookup in lookups:
        if not any(one.takes(lookup) for one in found):
            found.append(Pass())
            found[-1].takes(lookup)
    return found


def found_rows(
    connection: duckdb.DuckDBPyConnection,
    entities: EntityRows,
    lookups: Sequence[Lookup],
    zone: str | None,
) -> pa.Table:
    """The entity rows as they were given, in their order, with a column for each feature (rule 15).

    Raises:
        SpineError: a key or the time is missing, NULL or of another kind, or a column has the name of a feature.
        LakeError: what was released cannot be read.
    """
    check_outputs(entities, lookups)
    columns: dict[str, pa.ChunkedArray] = {}
    for one in passes(lookups):
        join = _joined(connection, entities, one, zone)
        answer = planner.plan(connection, join).reader(_BATCH_ROWS).read_all()
        for lookup in one.lookups:
            columns |= {name: answer.column(held) for held, name in lookup.outputs.items()}
    rows = entities.rows
    for lookup in lookups:
        for name in lookup.outputs.values():
            rows = rows.append_column(name, columns[name])
    return rows


def check_outputs(entities: EntityRows, lookups: Sequence[Lookup]) -> None:
    """Refuse entity rows that have a column of a feature's name: one would hide the other.

    Raises:
        SpineError: the message names them.
    """
    new = {name.lower() for lookup in lookups for name in lookup.outputs.values()}
    clash = [name for name in entities.rows.column_names if name.lower() in new]
    if clash:
        raise SpineError(
            f"the entity_df already has a column {', '.join(clash)}",
            hint="rename it there, or ask with full_feature_names=True",
        )


def _joined(
    connection: duckdb.DuckDBPyConnection, entities: EntityRows, one: Pass, zone: str | None
) -> planner.Join:
    connection.register(_ROWS, entities.rows)
    for view in one.views:
        check_released(connection, view)
    missing = [
        c
        for k, c in one.keys.items()
        if k != DUMMY_ENTITY_ID and c not in entities.rows.column_names
    ]
    if missing:
        raise SpineError(
            f"the entity_df has no column {', '.join(missing)}",
            hint=f"it has: {', '.join(entities.rows.column_names)}",
        )
    wanted = SpineColumns(entities.time, one.types, zone)
    spine = check_spine(connection, "the entity_df", one.spine(entities.time, _ROWS), wanted)
    return planner.Join(spine.sql, MOMENT, one.views, hidden=(MOMENT,))


def lookup_sql(
    connection: duckdb.DuckDBPyConnection,
    entities: EntityRows,
    lookups: Sequence[Lookup],
    zone: str | None,
) -> str:
    """One SELECT that gives the same rows; it reads `entity_df`, or the query that was given.

    It is what an engine without statistics or index would run: the values are the same by rules 11 to 16.

    Raises:
        SpineError: as `found_rows`.
        LakeError: what was released cannot be read.
    """
    check_outputs(entities, lookups)
    given = _ROWS if entities.sql is None else f"({entities.sql})"
    ctes = [f"numbered AS (SELECT *, row_number() OVER () AS asked FROM {given})"]
    names = []
    for number, one in enumerate(passes(lookups)):
        join = _joined(connection, entities, one, zone)
        # What `check_spine` read is the same rows without their number.
        spine = join.spine.replace(
            one.spine(entities.time, _ROWS),
            one.spine(entities.time, "numbered").replace("(SELECT ", "(SELECT asked, ", 1),
        )
        views = [_with_absences(connection, view) for view in one.views]
        text = point_in_time_sql(spine, MOMENT, views, status=False, hidden=[MOMENT])
        ctes.append(f"found_{number} AS ({text})")
        for lookup in one.lookups:
            names += [
                f"found_{number}.{quote(held)} AS {quote(name)}"
                for held, name in lookup.outputs.items()
            ]
    joins = " ".join(f"JOIN found_{number} USING (asked)" for number in range(len(ctes) - 1))
    return (
        f"WITH {', '.join(ctes)} SELECT numbered.* EXCLUDE (asked), {', '.join(names)} "
        f"FROM numbered {joins} ORDER BY asked"
    )


def _with_absences(connection: duckdb.DuckDBPyConnection, view: dict[str, Any]) -> dict[str, Any]:
    """The view with the entities that are gone written out, where there are any."""
    gone = absences(connection, view["snapshots"], view["relation"], view["keys"])
    if gone is None:
        return view
    described = connection.execute(f"DESCRIBE {gone}").fetchall()
    # As text: Python has no moment for `infinity`.
    rows = connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM {gone}").fetchall()
    values = ", ".join(
        "(" + ", ".join(f"{literal(v)}::{c[1]}" for v, c in zip(row, described, strict=True)) + ")"
        for row in rows
    )
    columns = ", ".join(quote(str(column[0])) for column in described)
    return view | {"gone": f"(SELECT * FROM (VALUES {values}) AS gone({columns}))"}
