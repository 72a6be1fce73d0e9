"""What the store answered, decoded a column at a time.

The replies of one column are Feast `Value` messages, one an entity. Few of them are decoded one by
one (`one_value`); of many, the bytes are joined and decoded as one array. Both give the same.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from featmill.contract.types import OnlineKind
from featmill.errors import EncodingError
from featmill.online.one_value import described, event_time, moment_of, value_decoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from featmill.contract.types import FeatureType

#: From here on arrays are faster than one value after the other; below, making them costs more.
_MANY = 160

#: Python's own slices and decoders are as fast as Arrow's for these.
_ONE_BY_ONE = frozenset({OnlineKind.STRING, OnlineKind.BYTES})


def decode_values(
    column: FeatureType, replies: Sequence[bytes | None], name: str = ""
) -> list[Any]:
    """The Python value of each reply of a column; None for a NULL and for an absent field.

    `name` is what an error calls the column.

    Raises:
        EncodingError: a reply is no Feast value of the column's type.
    """
    if len(replies) < _MANY or column.kind in _ONE_BY_ONE:
        decode = value_decoder(column, name)
        return [decode(reply) for reply in replies]
    from featmill.online.reply_arrays import Replies, numbers

    found, what = Replies(replies), described(column, name)
    if not column.is_list:
        return found.spread(_moments(column, numbers(column, found, what).tolist(), what))
    from featmill.online.reply_lists import number_lists

    flat, counts = number_lists(column, found, what)
    values = _moments(column, flat.tolist(), what)
    places = pairwise([0, *counts.cumsum().tolist()])
    return found.spread([values[start:end] for start, end in places])


class ColumnsDecoder:
    """Several columns of the same rows, those of one type decoded together.

    Of a hundred rows the arrays of each column would cost more than they save; of fifty columns'
    values together they do not.
    """

    def __init__(self, columns: Sequence[tuple[FeatureType, str]]) -> None:
        self._columns = tuple(columns)
        groups: dict[FeatureType, list[int]] = {}
        for place, (column, _) in enumerate(self._columns):
            groups.setdefault(column, []).append(place)
        self._groups = tuple((column, tuple(places)) for column, places in groups.items())

    def values(self, replies: Sequence[Sequence[bytes | None]]) -> list[list[Any]]:
        """The values of each column, as `decode_values` gives them; as many replies of each.

        Raises:
            EncodingError: a reply is no Feast value of its column's type.
        """
        found: list[list[Any]] = [[]] * len(self._columns)
        for column, places in self._groups:
            rows = len(replies[places[0]])
            together = [reply for place in places for reply in replies[place]]
            try:
                values = decode_values(column, together)
            except EncodingError:
                for place in places:
                    decode_values(column, replies[place], self._columns[place][1])
                raise
            for number, place in enumerate(places):
                found[place] = values[number * rows : (number + 1) * rows]
        return found


def decode_array(column: FeatureType, replies: Sequence[bytes | None], name: str = "") -> pa.Array:
    """The values of a column as Arrow: what `decode_values` gives, in the type's own shape.

    A DATE is date32, another moment a timestamp in microseconds, UTC.

    Raises:
        EncodingError: a reply is no Feast value of the column's type.
    """
    from featmill.online.reply_arrays import Replies, arrow_values

    return arrow_values(column, Replies(replies), described(column, name))


def decode_event_times(replies: Sequence[bytes | None]) -> list[int | None]:
    """The event time of each row in microseconds since 1970; None for a row that is not there.

    Raises:
        EncodingError: a reply is no `Timestamp` message.
    """
    if len(replies) < _MANY:
        return [event_time(reply) for reply in replies]
    from featmill.online.reply_arrays import event_micros

    return event_micros(replies)


def _moments(column: FeatureType, stored: list[Any], what: str) -> list[Any]:
    """Stored integers as the moments they are, where the column has moments."""
    moment = moment_of(column)
    if moment is None:
        return stored
    try:
        return [moment(number) for number in stored]
    except (OverflowError, ValueError, OSError) as error:
        raise EncodingError(f"{what} holds a moment out of range online: {error}") from error
