"""One request, checked, with each entity once a key group: one user and a thousand products read the user once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmill.errors import RequestError
from featmill.serving.echo import echoed

if TYPE_CHECKING:
    from featmill.serving.plan import KeyGroup, ServicePlan


@dataclass(frozen=True, slots=True)
class Entities:
    """The entities of one key group: `stems` are their Redis keys without the project's name.

    `row_of` says which of them each row of the request is; None where row i is entity i.
    """

    stems: list[bytes]
    row_of: Sequence[int] | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request of n rows: the keys as they were given, and the entities of each key group."""

    rows: int
    keys: dict[str, Sequence[Any]]
    entities: tuple[Entities, ...]
    request: Mapping[str, Sequence[Any]]


def ask(plan: ServicePlan, keys: Mapping[str, Any], request: Mapping[str, Any] | None) -> Asked:
    """Check a request against its plan.

    Raises:
        RequestError: a key or request field is unknown, missing, of another length or type.
    """
    given = _columns("keys", plan.key_names, keys)
    sent = _columns("request", plan.request_names, request or {})
    rows = _rows(
        {f"keys.{k}": v for k, v in given.items()} | {f"request.{k}": v for k, v in sent.items()}
    )
    whole = {name: [column] * rows if one else column for name, (column, one) in given.items()}
    packed = {
        key.name: [key.checked((given[key.name][0],))[0]] * rows
        if given[key.name][1]
        else key.checked(given[key.name][0])
        for key in plan.keys
    }
    fields = {name: [column] * rows if one else column for name, (column, one) in sent.items()}
    if plan.request is not None:
        plan.request.check_request(rows, fields)
    entities = tuple(_entities(group, packed, rows) for group in plan.groups)
    return Asked(rows, whole, entities, fields)


def _columns(
    what: str, names: Sequence[str], given: Mapping[str, Any]
) -> dict[str, tuple[Any, bool]]:
    """Each named column, and whether it is one value for all rows."""
    if not isinstance(given, Mapping):
        raise RequestError(
            f"{what}: {type(given).__name__} is no mapping of names to values",
            field=what,
            hint=f"it takes: {', '.join(names) or 'none'}",
        )
    if given.keys() != set(names):
        _check_names(what, names, given)
    found: dict[str, tuple[Any, bool]] = {}
    for name in names:
        column = sequence_of(given[name])
        found[name] = (given[name], True) if column is None else (column, False)
    return found


def _rows(columns: Mapping[str, tuple[Any, bool]]) -> int:
    """How many rows the lists have; without a list there is one."""
    rows, first = 1, ""
    for name, (column, one) in columns.items():
        if one:
            continue
        if not first:
            rows, first = len(column), name
        elif len(column) != rows:
            raise RequestError(
                f"{name} has {len(column)} values where {first} has {rows}",
                field=name,
                hint="give every list the same length, or one value for all rows",
            )
    return rows


def _check_names(what: str, names: Sequence[str], given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in names:
            raise RequestError(
                f"{what}.{echoed(name)} is not of this service",
                field=f"{what}.{echoed(name)}",
                hint=f"it takes: {', '.join(names) or 'none'}",
            )
    missing = [name for name in names if name not in given]
    raise RequestError(
        f"{what}.{missing[0]} is missing",
        field=f"{what}.{missing[0]}",
        hint=f"the service takes: {', '.join(names)}",
    )


def sequence_of(given: object) -> Sequence[Any] | None:
    """A column as a list; None where it is one value."""
    if isinstance(given, list | tuple):
        return given
    if isinstance(given, str | bytes | int):
        return None
    for plain in ("to_pylist", "tolist", "to_list"):
        convert = getattr(given, plain, None)
        if convert is not None:
            column = convert()
            return column if isinstance(column, list) else None
    return list(given) if isinstance(given, Sequence | range) else None


def _entities(group: KeyGroup, packed: Mapping[str, Sequence[Any]], rows: int) -> Entities:
    prefix = group.prefix
    if len(group.keys) == 1:
        key = group.keys[0]
        pack, column = key.pack, packed[key.name]
        if rows == 1:
            return Entities([prefix + pack(column[0])], None)
        places = dict.fromkeys(column)
        stems = [prefix + pack(value) for value in places]
    else:
        column = list(zip(*(packed[key.name] for key in group.keys), strict=True))
        packs = [key.pack for key in group.keys]
        places = dict.fromkeys(column)
        stems = [
            prefix + b"".join(pack(value) for pack, value in zip(packs, values, strict=True))
            for values in places
        ]
    if len(places) == rows:
        return Entities(stems, None)
    if len(places) == 1:
        return Entities(stems, bytes(rows))
    index = {value: at for at, value in enumerate(places)}
    return Entities(stems, [index[value] for value in column])
