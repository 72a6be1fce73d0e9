"""Engines in SQL beside ASOF: each finds at most one row of a view for each row of the spine.

They are laid around the macro's text, which stays the one text of the ASOF join: what the spine and the ASOF views come
to is `joined`, with the spine's row number, and each layer is joined to it by that number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featmill.training.templates import feature_rows_sql, point_in_time_sql
from featmill.warehouse.columns import quote

#: The spine's row number, in which the answer is put into the spine's order.
ROW = "_featmill_row_number"
_AT = "_featmill_at"


@dataclass(frozen=True, slots=True)
class Layer:
    """One view by one engine: common table expressions, and the one of them whose rows labels are joined to.

    `on` says how: by default that one has a row, with the label's number, for each label that found one.
    """

    view: dict[str, Any]
    expressions: tuple[str, ...]
    found: str
    on: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the layers answer: the spine, its time, and whether statuses are wanted."""

    spine: str
    time: str
    status: bool


def equi_layer(view: dict[str, Any], moments: Sequence[int], time: str, number: int) -> Layer:
    """Look up the snapshot of each label's moment by equality, then the few keys it lacks by ASOF.

    `moments` are the snapshots' event times: one for all rows of a snapshot. A key that the newest snapshot at a moment
    has not, may stand in an older one.
    """
    keys = [quote(key) for key in view["keys"]]
    at, event_time = quote(time), quote(view["event_time"])
    rows, moment, asked, hit, missed, older, found = (
        f"_featmill_{name}_{number}"
        for name in ("rows", "moments", "asked", "hit", "missed", "older", "found")
    )
    listed = ", ".join(f"make_timestamptz({moment})" for moment in moments)
    same = " AND ".join(f"l.{key} = r.{key}" for key in keys)
    columns = f"l.{ROW}, r.* EXCLUDE ({', '.join(keys)})"
    return Layer(
        view,
        (
            f"{rows} AS NOT MATERIALIZED ({feature_rows_sql(view)})",
            f"{moment} AS (SELECT unnest([{listed}]) AS {_AT})",
            f"{asked} AS MATERIALIZED (SELECT l.{ROW}, {', '.join(f'l.{key}' for key in keys)}, l.{at}, r.{_AT} "
            f"FROM _featmill_joined l ASOF JOIN {moment} r ON l.{at} >= r.{_AT})",
            f"{hit} AS MATERIALIZED (SELECT {columns} FROM {asked} l JOIN {rows} r "
            f"ON {same} AND l.{_AT} = r.{event_time})",
            f"{missed} AS MATERIALIZED (SELECT * FROM {asked} ANTI JOIN {hit} USING ({ROW}))",
            f"{older} AS (SELECT {columns} FROM {missed} l ASOF JOIN (SELECT * FROM {rows} "
            f"SEMI JOIN {missed} USING ({', '.join(keys)})) r ON {same} AND l.{at} >= r.{event_time})",
            f"{found} AS (SELECT * FROM {hit} UNION ALL SELECT * FROM {older})",
        ),
        found,
    )


def interval_layer(view: dict[str, Any], valid_to: str | None, time: str, number: int) -> Layer:
    """Join each label to the row whose interval holds its moment.

    `valid_to` is the column where a row's interval ends (not included; NULL: it has not ended); None: it is derived, as
    the next row's event time.
    """
    keys = [quote(key) for key in view["keys"]]
    at, event_time = quote(time), quote(view["event_time"])
    found = f"_featmill_found_{number}"
    same = " AND ".join(f"_featmill_joined.{key} = {found}.{key}" for key in keys)
    moment, until = f"_featmill_joined.{at}", f"{found}.{_AT}"
    if valid_to is None:
        following = (
            f"lead({event_time}) OVER (PARTITION BY {', '.join(keys)} ORDER BY {event_time})"
        )
        ending = f"SELECT *, {following} AS {_AT} FROM ({feature_rows_sql(view)})"
    else:
        features = ", ".join(quote(feature["name"]) for feature in view["features"])
        ending = (
            f"SELECT {', '.join(keys)}, {event_time}, {features}, {quote(valid_to)} AS {_AT} "
            f"FROM {view['relation']}"
        )
    # Labels are joined straight to their rows: at most one holds the moment, so no second join by number is needed.
    return Layer(
        view,
        (f"{found} AS NOT MATERIALIZED ({ending})",),
        found,
        f"{same} AND {moment} >= {found}.{event_time} AND ({until} IS NULL OR {moment} < {until})",
    )


def layered_sql(asked: Asked, asof_views: Sequence[dict[str, Any]], layers: Sequence[Layer]) -> str:
    """The whole join, in the spine's order; the columns of the layers come after those of the ASOF views."""
    if not layers:
        return point_in_time_sql(
            asked.spine, asked.time, list(asof_views), status=asked.status, hidden=[]
        )
    numbered = f"SELECT *, row_number() OVER () AS {ROW} FROM ({asked.spine})"
    joined = numbered
    if asof_views:
        joined = point_in_time_sql(
            numbered, asked.time, list(asof_views), status=asked.status, hidden=[]
        )
    expressions = [f"_featmill_joined AS MATERIALIZED ({joined})"]
    expressions += [text for layer in layers for text in layer.expressions]
    columns = [f"_featmill_joined.* EXCLUDE ({ROW})"]
    columns += [text for layer in layers for text in _columns(layer, asked)]
    joins = [
        f"LEFT JOIN {layer.found} ON {layer.on or f'_featmill_joined.{ROW} = {layer.found}.{ROW}'}"
        for layer in layers
    ]
    return (
        f"WITH {', '.join(expressions)} SELECT {', '.join(columns)} FROM _featmill_joined "
        f"{' '.join(joins)} ORDER BY _featmill_joined.{ROW}"
    )


def _columns(layer: Layer, asked: Asked) -> list[str]:
    """A view's columns, as the macro words them."""
    view, found = layer.view, layer.found
    at = f"{found}.{quote(view['event_time'])}"
    visible = f"{at} IS NOT NULL"
    if view["ttl_us"] is not None:
        time = f"_featmill_joined.{quote(asked.time)}"
        visible += f" AND {time} < {at} + to_microseconds({view['ttl_us']})"
    columns = [
        f"CASE WHEN {visible} THEN {found}.{quote(f['name'])} ELSE {f['default_sql']} END "
        f"AS {quote(view['name'] + '__' + f['name'])}"
        for f in view["features"]
    ]
    if asked.status:
        columns += [
            f"CASE WHEN {visible} THEN 'ok' WHEN {at} IS NULL THEN 'missing' ELSE 'expired' END "
            f"AS {quote(view['name'] + '__status')}",
            f"{at} AS {quote(view['name'] + '__' + view['event_time'])}",
        ]
    return columns
