"""What the store answered, as an answer: statuses by rule 12 at as_of, values, defaults and fallbacks by rule 18.

Everything is done for each entity once and spread over the request's rows at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmill.online.columns import decode_event_times
from featmill.serving.answer import FeatureVectors, Status, ViewAnswer
from featmill.serving.moments import micros_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from featmill.online.serving_state import ServingState
    from featmill.serving.asked import Asked
    from featmill.serving.plan import ReadFeature, ReadView, ServicePlan

    #: What HMGET gave for one entity, in the order of the group's fields.
    Row = Sequence[bytes | None]

_OK, _DEFAULT = int(Status.OK), int(Status.DEFAULT)
_EXPIRED, _MISSING = int(Status.EXPIRED), int(Status.MISSING)
#: The status of a field that a row which is there does not have; a NULL is a field, of no bytes.
_ABSENT = bytes((Status.MISSING,))
#: Whether a row of a status serves its values, by the status's number.
_SERVES = tuple(status in (Status.OK, Status.STALE) for status in Status)
_SERVING = bytes((Status.OK, Status.STALE))
#: The status of a value whose row does not serve and whose default is declared, for each status of the row.
_DEFAULTED = bytes(
    (status if serves else _DEFAULT) for status, serves in zip(Status, _SERVES, strict=True)
).ljust(256, b"\0")
#: How little is known of a value: a row's own, one of a while ago, none that serves; and what that is called.
_RANKS = bytes((0, 2, 1, 2, 2)).ljust(256, b"\2")
_OF_RANKS = bytes((Status.OK, Status.STALE, Status.DEFAULT)).ljust(256, b"\0")


@dataclass(slots=True)
class Found:
    """What is known of each entity, by key group: its row, and the status a row has that is there and within its ttl.

    `bases` of None: every row is `ok`. An entity nothing is known of has a row of None and the base `default`.
    """

    rows: list[Sequence[Row]]
    bases: list[bytes | None]
    serving: ServingState | None
    degraded: str | None = None


def assemble(plan: ServicePlan, asked: Asked, found: Found, as_of: datetime) -> FeatureVectors:
    """Make the answer.

    Raises:
        EncodingError: the store holds something that is no value of a feature's type.
    """
    moment = micros_of(as_of)
    looked = [_looked_up(view, asked, found, moment) for view in plan.views]
    if asked.rows == 1:
        values, statuses = _one(plan, found, looked)
    else:
        values, statuses = _many(plan, asked, found, looked)
    answered = plan.answered
    if answered != len(values):
        values, statuses = values[:answered], statuses[:answered]
    if plan.request is not None:
        stored = dict(zip(plan.names, values, strict=False))
        words = dict(zip(plan.names, statuses, strict=False))
        computed = plan.request.evaluate(asked.rows, stored, asked.request, as_of)
        for feature in plan.service.request_features:
            values.append(computed[feature.name])
            read = [words[name] for name in plan.request.stored_inputs[feature.name]]
            statuses.append(_computed_from(read, asked.rows))
    return FeatureVectors(
        plan.name,
        asked.keys,
        asked.rows,
        plan.names,
        tuple(values),
        tuple(statuses),
        plan.view_of,
        tuple([view.answer for view in looked]),
        as_of,
        found.degraded,
        plan.types,
        plan.keys,
    )


@dataclass(slots=True)
class _LookedUp:
    """A view: the status of each entity, whether all of them serve, and the answer over the request's rows."""

    statuses: bytes
    all_serve: bool
    answer: ViewAnswer


def _looked_up(view: ReadView, asked: Asked, found: Found, moment: int) -> _LookedUp:
    at = view.time_at
    events = _begun(decode_event_times([row[at] for row in found.rows[view.group]]), moment)
    statuses = _statuses(events, found.bases[view.group], view.ttl, moment)
    row_of = asked.entities[view.group].row_of
    serving = found.serving
    served = None if serving is None else serving.views.get(view.name)
    snapshot = None if served is None else served.snapshot_id
    release = serving.release_id if serving is not None and snapshot is not None else None
    answer = ViewAnswer(
        view.name, snapshot, release, _spread_bytes(statuses, row_of), _spread(events, row_of)
    )
    return _LookedUp(statuses, not statuses.strip(_SERVING), answer)


def _computed_from(read: Sequence[bytes], rows: int) -> bytes:
    """The status of what is computed from stored values: of the one of them that is known least."""
    if not any(word.strip(b"\0") for word in read):
        return bytes(rows)
    ranked = [word.translate(_RANKS) for word in read]
    return bytes(map(max, zip(*ranked, strict=True))).translate(_OF_RANKS)


def _begun(events: list[int | None], moment: int) -> list[int | None]:
    """The event times without those after the moment: rule 12 knows no row before it begins."""
    for event in events:
        if event is not None and event > moment:
            return [None if one is None or one > moment else one for one in events]
    return events


def _statuses(
    events: Sequence[int | None], bases: bytes | None, ttl: int | None, moment: int
) -> bytes:
    """Rule 12: a row that has begun is visible for less than its ttl."""
    if bases is None:
        if ttl is None and None not in events:
            return bytes(len(events))
        bases = bytes(len(events))
    return bytes(
        [
            base
            if base == _DEFAULT
            else _MISSING
            if event is None
            else _EXPIRED
            if ttl is not None and moment >= event + ttl
            else base
            for event, base in zip(events, bases, strict=True)
        ]
    )


def _one(
    plan: ServicePlan, found: Found, looked: Sequence[_LookedUp]
) -> tuple[list[Sequence[Any]], list[bytes]]:
    """The values of one row, without the detour over columns."""
    rows = [rows[0] for rows in found.rows]
    words = [view.statuses for view in looked]
    serves = [view.all_serve for view in looked]
    values: list[Sequence[Any]] = []
    statuses: list[bytes] = []
    for feature in plan.stored:
        view = feature.view
        reply = rows[feature.group][feature.at]
        if serves[view] and reply is not None:
            values.append((feature.decode(reply),))
            statuses.append(words[view])
        else:
            status = _ABSENT if serves[view] else words[view]
            value, status = _instead(plan, feature, status, (rows, serves))
            values.append((value,))
            statuses.append(status)
    return values, statuses


def _instead(
    plan: ServicePlan, feature: ReadFeature, status: bytes, known: tuple[Sequence[Row], list[bool]]
) -> tuple[Any, bytes]:
    """What stands in for a value whose row does not serve."""
    rows, serves = known
    if feature.fallback is not None:
        source = plan.stored[feature.fallback]
        reply = rows[source.group][source.at]
        if serves[source.view] and reply is not None:
            return source.decode(reply), bytes((_DEFAULT,))
    if feature.default is not None:
        return feature.default, bytes((_DEFAULT,))
    return None, status


def _many(
    plan: ServicePlan, asked: Asked, found: Found, looked: Sequence[_LookedUp]
) -> tuple[list[Sequence[Any]], list[bytes]]:
    values: list[Sequence[Any]] = [()] * len(plan.stored)
    statuses = [looked[feature.view].answer.statuses for feature in plan.stored]
    whole = [looked[feature.view].all_serve for feature in plan.stored]
    for group, rows, entities, (members, decoder) in zip(
        plan.groups, found.rows, asked.entities, plan.decoders, strict=True
    ):
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(group.fields)
        read = [_serving(plan.stored[at], columns, looked) for at in members]
        for at, column, replies in zip(members, decoder.values(read), read, strict=True):
            values[at] = _spread(column, entities.row_of)
            # A NULL is false as well; mostly there is neither.
            if whole[at] and not all(replies) and None in replies:
                whole[at] = False
            if not whole[at]:
                of_rows = _of_fields(looked[plan.stored[at].view].statuses, replies)
                statuses[at] = _spread_bytes(of_rows, entities.row_of)
    own, known = list(values), list(statuses)
    for at, feature in enumerate(plan.stored[: plan.answered]):
        if whole[at]:
            continue
        if feature.fallback is not None:
            others = (own[feature.fallback], known[feature.fallback])
            values[at], statuses[at] = _with_fallback(feature, own[at], statuses[at], others)
        elif feature.default is not None:
            default = feature.default
            values[at] = [
                value if _SERVES[status] else default
                for value, status in zip(own[at], statuses[at], strict=True)
            ]
            statuses[at] = statuses[at].translate(_DEFAULTED)
    return values, statuses


def _of_fields(statuses: bytes, replies: Sequence[bytes | None]) -> bytes:
    """The rows' statuses, but `missing` where the row serves and has no such field."""
    return bytes(
        _MISSING if reply is None and _SERVES[status] else status
        for reply, status in zip(replies, statuses, strict=True)
    )


def _serving(
    feature: ReadFeature,
    columns: Sequence[Sequence[bytes | None]],
    looked: Sequence[_LookedUp],
) -> Sequence[bytes | None]:
    """The replies of one feature; None where the row does not serve, so that nothing can answer an expired value."""
    replies, view = columns[feature.at], looked[feature.view]
    if view.all_serve:
        return replies
    return [
        reply if _SERVES[status] else None
        for reply, status in zip(replies, view.statuses, strict=True)
    ]


def _with_fallback(
    feature: ReadFeature,
    values: Sequence[Any],
    statuses: bytes,
    others: tuple[Sequence[Any], bytes],
) -> tuple[list[Any], bytes]:
    """Rows that serve as they are; else the source's value where its row serves; else the default."""
    filled: list[Any] = []
    words = bytearray()
    for value, status, other, other_status in zip(values, statuses, *others, strict=True):
        if _SERVES[status]:
            filled.append(value)
            words.append(status)
        elif _SERVES[other_status]:
            filled.append(other)
            words.append(_DEFAULT)
        else:
            filled.append(feature.default)
            words.append(status if feature.default is None else _DEFAULT)
    return filled, bytes(words)


def _spread(column: list[Any], row_of: Sequence[int] | None) -> list[Any]:
    """A value for each row of the request, from one for each entity."""
    if row_of is None:
        return column
    if len(column) == 1:
        return column * len(row_of)
    return [column[at] for at in row_of]


def _spread_bytes(column: bytes, row_of: Sequence[int] | None) -> bytes:
    if row_of is None:
        return column
    if len(column) == 1:
        return column * len(row_of)
    return bytes([column[at] for at in row_of])
