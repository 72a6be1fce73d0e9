"""An answer as dicts, Arrow or NumPy."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from featmill.contract.types import OnlineKind
from featmill.serving.answer import WORDS
from featmill.serving.moments import micros_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import pyarrow as pa
    from numpy.typing import NDArray

    from featmill.contract.types import FeatureType
    from featmill.serving.answer import FeatureVectors, ViewAnswer
    from featmill.serving.key_columns import KeyColumn

_MICROS = 1_000_000
_DAY = 86_400


def ages(answer: FeatureVectors, view: ViewAnswer) -> list[float | None]:
    """How old each row of a view was at the answer's as_of, in seconds."""
    at = micros_of(answer.as_of)
    return [None if event is None else (at - event) / _MICROS for event in view.event_at]


def to_dict(answer: FeatureVectors) -> dict[str, Any]:
    """See `FeatureVectors.to_dict`."""
    return {
        **_about(answer),
        "keys": {name: list(column) for name, column in answer.keys.items()},
        "values": _by_name(answer, [list(column) for column in answer.values]),
        "statuses": _by_name(answer, [_words(column) for column in answer.statuses]),
        "ages": {view.view: ages(answer, view) for view in answer.views},
    }


def to_rows(answer: FeatureVectors) -> list[dict[str, Any]]:
    """See `FeatureVectors.to_rows`."""
    names, key_names = answer.names, tuple(answer.keys)
    view_names = tuple(view.view for view in answer.views)
    words = [_words(column) for column in answer.statuses]
    return [
        {
            "keys": dict(zip(key_names, keys, strict=True)),
            "values": dict(zip(names, values, strict=True)),
            "statuses": dict(zip(names, statuses, strict=True)),
            "ages": dict(zip(view_names, row_ages, strict=True)),
        }
        for keys, values, statuses, row_ages in zip(
            _rows(answer, list(answer.keys.values())),
            _rows(answer, answer.values),
            _rows(answer, words),
            _rows(answer, [ages(answer, view) for view in answer.views]),
            strict=True,
        )
    ]


def to_arrow(answer: FeatureVectors) -> pa.Table:
    """See `FeatureVectors.to_arrow`."""
    import pyarrow as pa

    columns: dict[str, pa.Array] = {}
    declared = {key.name: key for key in answer.key_columns}
    for name, keys in answer.keys.items():
        columns[name] = _keys(keys, declared[name]) if name in declared else pa.array(keys)
    words = pa.array(WORDS)
    for at, name in enumerate(answer.names):
        kind = arrow_type(answer.types[at]) if answer.types else None
        columns[name] = pa.array(answer.values[at], kind)
        numbers = pa.array(list(answer.statuses[at]), pa.int8())
        columns[f"{name}__status"] = pa.DictionaryArray.from_arrays(numbers, words)
    for view in answer.views:
        moments = pa.array(view.event_at, pa.int64()).cast(pa.timestamp("us", "UTC"))
        columns[f"{view.view}__event_at"] = moments
    about = _about(answer)
    metadata = {
        "service": about["service"],
        "as_of": about["as_of"],
        "degraded": about["degraded"] or "",
        "snapshots": json.dumps(about["snapshots"]),
        "releases": json.dumps(about["releases"]),
    }
    return pa.table(columns).replace_schema_metadata(metadata)


def _keys(given: Sequence[Any], key: KeyColumn) -> pa.Array:
    """Keys in their contract type, however they were spelled."""
    import pyarrow as pa

    packed, kind = key.checked(given), arrow_type(key.type)
    if key.kind is not OnlineKind.UNIX_TIMESTAMP:
        return pa.array(packed, kind)
    if pa.types.is_date(kind):
        return pa.array([seconds // _DAY for seconds in packed], pa.int32()).cast(kind)
    return pa.array([seconds * _MICROS for seconds in packed], pa.int64()).cast(kind)


def to_numpy(answer: FeatureVectors) -> dict[str, NDArray[Any]]:
    """See `FeatureVectors.to_numpy`."""
    return {
        name: _array(answer.values[at], answer.types[at] if answer.types else None)
        for at, name in enumerate(answer.names)
    }


def arrow_type(column: FeatureType) -> pa.DataType:
    """What a column is in Arrow; a moment has microseconds whatever it is stored in."""
    import pyarrow as pa

    scalars = {
        OnlineKind.BOOL: pa.bool_(),
        OnlineKind.INT32: pa.int32(),
        OnlineKind.INT64: pa.int64(),
        OnlineKind.FLOAT: pa.float32(),
        OnlineKind.DOUBLE: pa.float64(),
        OnlineKind.STRING: pa.string(),
        OnlineKind.BYTES: pa.binary(),
        OnlineKind.UNIX_TIMESTAMP: pa.timestamp("us", "UTC"),
    }
    found = scalars[column.kind]
    if column.sql.startswith("DATE"):
        found = pa.date32()
    elif column.sql.startswith("TIMESTAMP"):
        found = pa.timestamp("us", "UTC")
    return pa.list_(found) if column.is_list else found


def _array(values: Sequence[Any], column: FeatureType | None) -> NDArray[Any]:
    import numpy as np

    if column is not None and column.is_list:
        objects = np.empty(len(values), object)
        objects[:] = list(values)
        return objects
    present = next((value for value in values if value is not None), None)
    if isinstance(present, bool | int | float) or present is None:
        is_numeric = column is None or column.kind not in (OnlineKind.STRING, OnlineKind.BYTES)
        if present is not None and not any(value is None for value in values):
            return np.array(values)
        if is_numeric and not _is_moment(column):
            return np.array([np.nan if value is None else value for value in values], np.float64)
    if _is_moment(column):
        unit = "D" if column is not None and column.sql.startswith("DATE") else "us"
        naive = [_naive(value) for value in values]
        return np.array(naive, f"datetime64[{unit}]")
    return np.array(values, object)


def _is_moment(column: FeatureType | None) -> bool:
    return column is not None and column.sql.startswith(("DATE", "TIMESTAMP"))


def _naive(value: date | None) -> date | None:
    """NumPy's moments have no zone: they are in UTC, as every moment here."""
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def _about(answer: FeatureVectors) -> dict[str, Any]:
    return {
        "service": answer.service,
        "as_of": answer.as_of.isoformat(),
        "degraded": answer.degraded,
        "snapshots": {view.view: view.snapshot for view in answer.views},
        "releases": {view.view: view.release for view in answer.views},
    }


def _by_name(answer: FeatureVectors, columns: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(answer.names, columns, strict=True))


def _words(statuses: bytes) -> list[str]:
    return [WORDS[status] for status in statuses]


def _rows(answer: FeatureVectors, columns: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*columns, strict=True)) if columns else [()] * answer.rows
