"""Join keys as a request gives them: checked against the contract, and packed as Feast's entity keys.

A column is checked as a whole: Python compares the types of a thousand values in one call.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from featmill.contract.types import OnlineKind
from featmill.errors import RequestError
from featmill.online.plan import KEY_TYPES, KEY_WIDTHS
from featmill.serving.moments import micros_of

if TYPE_CHECKING:
    from featmill.contract.catalog import JoinKey
    from featmill.contract.types import FeatureType

_LIMITS = {OnlineKind.INT32: 2**31, OnlineKind.INT64: 2**63}

_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """One join key: its name, its type, and how a value becomes bytes of an entity key.

    `pack` gives type, length and bytes of one value.
    """

    name: str
    type: FeatureType
    kind: OnlineKind
    pack: Callable[[Any], bytes]

    def checked(self, column: Sequence[Any]) -> Sequence[Any]:
        """The values as they are packed.

        Raises:
            RequestError: one is not of the key's type; the message names it and its place.
        """
        if not self._is_plain(column):
            column = [self._one(value, at) for at, value in enumerate(column)]
        limit = _LIMITS.get(self.kind)
        if limit is not None and column and not (-limit <= min(column) and max(column) < limit):
            at = next(n for n, value in enumerate(column) if not -limit <= value < limit)
            raise self._refused(column[at], at)
        return column

    def _is_plain(self, column: Sequence[Any]) -> bool:
        """Whether the values are packed as they are given."""
        if not set(map(type, column)) <= {_PLAIN[self.kind]} or self.type.sql in _READ:
            return False
        if self.kind is OnlineKind.STRING:
            # Half of a surrogate pair is a Python text and no UTF-8.
            return all(map(str.isascii, column)) or _is_unicode("".join(column))
        return True

    def _one(self, value: object, at: int) -> Any:  # noqa: ANN401 - of the key's own kind
        read = _READ.get(self.type.sql, _KINDS[self.kind])
        try:
            return read(value)
        except (ValueError, TypeError, OverflowError, AttributeError):
            raise self._refused(value, at) from None

    def _refused(self, value: object, at: int) -> RequestError:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        return RequestError(
            f"keys.{self.name}: {shown}, number {at + 1}, is no {self.type.sql}",
            field=f"keys.{self.name}",
            hint=f"{self.name} is {_SAID[self.kind]}",
        )


def key_column(key: JoinKey) -> KeyColumn:
    """Compile a declared join key."""
    kind = key.type.kind
    return KeyColumn(key.name, key.type, kind, _packer(kind))


def _packer(kind: OnlineKind) -> Callable[[Any], bytes]:
    number = struct.pack("<I", KEY_TYPES[kind])
    width = KEY_WIDTHS.get(kind)
    if width is not None:
        head = number + struct.pack("<I", width)
        pack = struct.Struct("<i" if width == 4 else "<q").pack
        return lambda value: head + pack(value)
    size = struct.Struct("<I").pack
    if kind is OnlineKind.BYTES:
        return lambda value: number + size(len(value)) + value

    def text(value: str) -> bytes:
        data = value.encode()
        return number + size(len(data)) + data

    return text


def _integer(value: object) -> int:
    if isinstance(value, bool):
        raise TypeError
    return value.__index__()  # type: ignore[attr-defined, no-any-return]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()
    # Not str(): of a member of an enumeration of texts that is its name.
    return str.__str__(value)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError
    return bytes(value)


def _seconds(value: object) -> int:
    """A moment as whole seconds: a key between two of them cannot have been published."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError
    seconds, rest = divmod(micros_of(value), _MICROS)
    if rest:
        raise ValueError
    return seconds


def _day(value: object) -> int:
    if isinstance(value, str):
        value = date.fromisoformat(value)
    if not isinstance(value, date) or isinstance(value, datetime):
        raise TypeError
    return _seconds(value)


_KINDS: dict[OnlineKind, Callable[[object], Any]] = {
    OnlineKind.INT32: _integer,
    OnlineKind.INT64: _integer,
    OnlineKind.STRING: _text,
    OnlineKind.BYTES: _bytes,
    OnlineKind.UNIX_TIMESTAMP: _seconds,
}
#: Types whose one online form has several spellings.
_READ: dict[str, Callable[[object], Any]] = {
    "UUID": lambda value: str(value if isinstance(value, UUID) else UUID(_text(value))),
    "DATE": _day,
}
_PLAIN: dict[OnlineKind, type] = {
    OnlineKind.INT32: int,
    OnlineKind.INT64: int,
    OnlineKind.STRING: str,
    OnlineKind.BYTES: bytes,
    # Never given as it is packed.
    OnlineKind.UNIX_TIMESTAMP: type(None),
}
_SAID = {
    OnlineKind.INT32: "a whole number of 32 bits",
    OnlineKind.INT64: "a whole number of 64 bits",
    OnlineKind.STRING: "a text",
    OnlineKind.BYTES: "bytes",
    OnlineKind.UNIX_TIMESTAMP: "a moment with its zone, in whole seconds, or a date",
}
