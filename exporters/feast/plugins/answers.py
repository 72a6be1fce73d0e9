"""The store's replies as Feast's response, made as protobuf bytes: what Redis holds is a `Value` message already.

Feast's own way makes a message object of every value and hands it over one by one. Here the bytes of all values are
joined with the tags and lengths between them and parsed once. Field numbers are those of `GetOnlineFeaturesResponse` in
Feast's `serving/ServingService.proto`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from feast.metrics import track_feature_statuses
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from featmill.errors import OnlineError
from featmill.online.one_value import event_time

if TYPE_CHECKING:
    from feast import FeatureView
    from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse

    #: One row: the features' fields, then the event time's; None where there is none.
    Reply = Sequence[bytes | None]

#: Feast's `FieldStatus`.
PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE = 1, 2, 3, 4

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Field 1, 2 and 3 of a message, each with a length.
_FIRST, _SECOND, _THIRD = b"\x0a", b"\x12", b"\x1a"
#: Tag and length of a value or a time, which almost always are short.
_SHORT = 128
_VALUES = [_FIRST + bytes([length]) for length in range(_SHORT)]
_TIMES = [_THIRD + bytes([length]) for length in range(_SHORT)]
_NO_VALUE, _NO_TIME = _VALUES[0], _TIMES[0]


@dataclass(frozen=True, slots=True)
class ViewAnswer:
    """What was found of one view: a reply for each row asked for, and which rows serve at `now`.

    `statuses` are a row's: PRESENT, NOT_FOUND or OUTSIDE_MAX_AGE.
    """

    view: FeatureView
    names: Sequence[str]
    replies: Sequence[Reply]
    statuses: bytes

    @classmethod
    def of(
        cls, view: FeatureView, names: Sequence[str], replies: Sequence[Reply], now: datetime
    ) -> ViewAnswer:
        """Rule 12: a row serves from its event time until the end of the view's ttl, that moment not included."""
        moment, ttl = (now - _EPOCH) // _MICROSECOND, ttl_us(view)
        oldest = None if ttl is None else moment - ttl
        times = [reply[-1] for reply in replies]
        # Rows of one snapshot mostly bear one event time.
        known = {time: _status(time, moment, oldest) for time in set(times)}
        statuses = bytes(map(known.__getitem__, times))
        return cls(view, names, replies, statuses)

    def append_to(self, response: GetOnlineFeaturesResponse, *, full_feature_names: bool) -> None:
        """Add the names and a vector of each feature.

        Raises:
            OnlineError: what the store holds are no values of Feast's.
        """
        prefix = f"{self.view.projection.name_to_use()}__" if full_feature_names else ""
        parts = [_listed(prefix, tuple(self.names))]
        times = b"".join(
            _TIMES[len(t)] + t if (t := reply[-1]) is not None else _NO_TIME
            for reply in self.replies
        )
        columns = list(zip(*self.replies, strict=True))[:-1] or [()] * len(self.names)
        are_all_present = self.statuses.count(PRESENT) == len(self.statuses)
        present, mostly = 0, _field(_SECOND, self.statuses) + times
        for column in columns:
            served = column if are_all_present else self._served(column)
            if all(served):
                present += len(served)
                rest = mostly
            else:
                statuses = self._statuses(served)
                present += statuses.count(PRESENT)
                rest = _field(_SECOND, statuses) + times
            parts.append(_field(_SECOND, _repeated(served) + rest))
        try:
            response.MergeFromString(b"".join(parts))
        except DecodeError as error:
            raise OnlineError(
                f"{self.view.name}: the store holds bytes that are no values of Feast's: {error}",
                hint="something else wrote there: featmill verify names the entities",
            ) from error
        track_feature_statuses(self.view.name, present, len(columns) * len(self.replies) - present)

    def rows(self) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Each row as `online_read` gives it: no values where none serve."""
        found: list[tuple[datetime | None, dict[str, Value] | None]] = []
        for reply, status in zip(self.replies, self.statuses, strict=True):
            moment = event_time(reply[-1])
            at = None if moment is None else _EPOCH + timedelta(microseconds=moment)
            values = zip(self.names, reply[:-1], strict=True)
            served = {name: Value.FromString(data or b"") for name, data in values}
            found.append((at, served if status == PRESENT else None))
        return found

    def _served(self, column: Sequence[bytes | None]) -> list[bytes | None]:
        """A feature's values without those of rows that do not serve."""
        return [
            value if status == PRESENT else None
            for value, status in zip(column, self.statuses, strict=True)
        ]

    def _statuses(self, served: Sequence[bytes | None]) -> bytes:
        """The statuses of a feature of which not every row has a value."""
        return bytes(
            status if value or status != PRESENT else NOT_FOUND if value is None else NULL_VALUE
            for value, status in zip(served, self.statuses, strict=True)
        )


def ttl_us(view: FeatureView) -> int | None:
    """A view's ttl in microseconds; None where its rows never expire, which Feast writes as zero."""
    # An on-demand view that is written online has none.
    ttl = getattr(view, "ttl", None)
    return ttl // _MICROSECOND if ttl else None


@lru_cache(maxsize=1024)
def _listed(prefix: str, names: tuple[str, ...]) -> bytes:
    """The response's metadata with these names, the same for every read of a service."""
    listed = b"".join(_field(_FIRST, (prefix + name).encode()) for name in names)
    return _field(_FIRST, _field(_FIRST, listed))


def _status(time: bytes | None, now: int, oldest: int | None) -> int:
    moment = event_time(time)
    if moment is None or moment > now:
        return NOT_FOUND
    return OUTSIDE_MAX_AGE if oldest is not None and moment <= oldest else PRESENT


def _repeated(values: Sequence[bytes | None]) -> bytes:
    """Values as repeated field 1; none of them is an empty one."""
    try:
        return b"".join([_VALUES[len(v)] + v if v else _NO_VALUE for v in values])
    except IndexError:
        return b"".join([_field(_FIRST, v or b"") for v in values])


def _field(tag: bytes, data: bytes) -> bytes:
    """A field with a length: tag, varint of the length, bytes."""
    length = len(data)
    if length < _SHORT:
        return b"%b%c%b" % (tag, length, data)
    digits = bytearray()
    while length >= _SHORT:
        digits.append(length % _SHORT + _SHORT)
        length //= _SHORT
    digits.append(length)
    return tag + bytes(digits) + data
