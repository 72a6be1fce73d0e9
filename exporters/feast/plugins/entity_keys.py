"""Feast's entity keys as the bytes that a row's key begins with; the project's name follows them.

The same bytes as `featmill.online.codec` writes, of few entities instead of a column.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from feast.infra.key_encoding_utils import serialize_entity_key

from featmill.contract.types import OnlineKind
from featmill.online.plan import KEY_TYPES

if TYPE_CHECKING:
    from feast import FeatureView

#: Field of Feast's `Value` -> its bytes in a key, with type and length before them.
_KEY_BYTES: dict[str, Callable[[Any], bytes]] = {
    "int64_val": lambda v: struct.pack("<IIq", KEY_TYPES[OnlineKind.INT64], 8, v.int64_val),
    "int32_val": lambda v: struct.pack("<IIi", KEY_TYPES[OnlineKind.INT32], 4, v.int32_val),
    "string_val": lambda v: _ragged(OnlineKind.STRING, v.string_val.encode()),
    "bytes_val": lambda v: _ragged(OnlineKind.BYTES, v.bytes_val),
    "unix_timestamp_val": lambda v: struct.pack(
        "<IIq", KEY_TYPES[OnlineKind.UNIX_TIMESTAMP], 8, v.unix_timestamp_val
    ),
}


@dataclass(frozen=True, slots=True)
class EntityKeys:
    """The keys of some rows, without the project's name."""

    prefixed: Sequence[bytes]

    @classmethod
    def of(cls, entity_keys: Sequence[Any]) -> EntityKeys:
        """From Feast's `EntityKey` messages."""
        return cls([serialize_entity_key(key, 3) for key in entity_keys])


def keys_of_rows(view: FeatureView, values: Mapping[str, Sequence[Any]]) -> EntityKeys:
    """From the values of each join key, as `Value` messages; a row for each.

    Raises:
        KeyError: a join key of the view is missing.
        ValueError: a value is NULL, or of a type that cannot be a key.
    """
    names = sorted(values)
    missing = [name for name in view.join_keys if name not in values]
    if missing:
        raise KeyError(f"Missing join key values for keys: {missing}")
    columns = [_column(view, name, values[name]) for name in names]
    prefix = _prefix(tuple(names))
    return EntityKeys([prefix + b"".join(row) for row in zip(*columns, strict=True)])


@lru_cache(maxsize=1024)
def _prefix(names: tuple[str, ...]) -> bytes:
    """How every key of these join keys begins."""
    encoded = [_ragged(OnlineKind.STRING, name.encode()) for name in names]
    return struct.pack("<I", len(names)) + b"".join(encoded)


def _column(view: FeatureView, name: str, values: Sequence[Any]) -> list[bytes]:
    try:
        return [_KEY_BYTES[value.WhichOneof("val")](value) for value in values]
    except KeyError as error:
        raise ValueError(
            f"{view.name}: join key {name} is NULL in a row, or of a type that cannot be a key"
        ) from error


def _ragged(kind: OnlineKind, data: bytes) -> bytes:
    return struct.pack("<II", KEY_TYPES[kind], len(data)) + data
