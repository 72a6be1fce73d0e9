"""Replies as Feast's response: the same message as Feast builds object by object, and statuses that are true."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featmill.errors import OnlineError

pytestmark = [pytest.mark.feast, pytest.mark.filterwarnings("ignore::DeprecationWarning:feast")]

NOW = datetime(2026, 3, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TTL = timedelta(hours=1)
PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE = 1, 2, 3, 4
VALUES = st.none() | st.just(b"") | st.text(max_size=200)
#: Often the very beginning and end of a row, and the microseconds beside them.
EDGES = [length + timedelta(microseconds=n) for length in (timedelta(0), TTL) for n in (-1, 0, 1)]
AGES = (
    st.none()
    | st.sampled_from(EDGES)
    | st.integers(-5, 9_000_000).map(lambda ms: timedelta(milliseconds=ms))
)


def view(ttl=TTL):
    projection = SimpleNamespace(name_to_use=lambda: "v")
    return SimpleNamespace(name="v", ttl=ttl, projection=projection)


def stored(value):
    """The bytes of a value in the store; None and b"" as they are."""
    from feast.protos.feast.types.Value_pb2 import Value

    return Value(string_val=value).SerializeToString() if isinstance(value, str) else value


def time(age):
    from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

    moment = Timestamp()
    moment.FromDatetime(NOW - age)
    return moment.SerializeToString()


def answered(rows, names=("a", "b"), ttl=TTL, *, full=False):
    from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse

    from exporters.feast.plugins.answers import ViewAnswer

    response = GetOnlineFeaturesResponse()
    answer = ViewAnswer.of(view(ttl), names, rows, NOW)
    answer.append_to(response, full_feature_names=full)
    return response


@given(st.lists(st.tuples(VALUES, VALUES, AGES), max_size=6), st.booleans())
def test_the_message_is_what_feast_s_own_objects_make(rows, full):
    """Rules 12 and 18: a value where its row serves; else none, and why."""
    from feast.protos.feast.types.Value_pb2 import Value

    replies = [[stored(a), stored(b), None if age is None else time(age)] for a, b, age in rows]

    response = answered(replies, full=full)

    assert list(response.metadata.feature_names.val) == (["v__a", "v__b"] if full else ["a", "b"])
    for place, vector in enumerate(response.results):
        for n, row in enumerate(rows):
            value, age = row[place], row[2]
            serves = age is not None and timedelta(0) <= age < TTL
            wanted = Value(string_val=value) if serves and isinstance(value, str) else Value()
            assert vector.values[n] == wanted
            assert vector.statuses[n] == status(value, age)
            seconds = 0 if age is None else (NOW - age - EPOCH) // timedelta(seconds=1)
            assert vector.event_timestamps[n].seconds == seconds


def status(value, age):
    if age is None or age < timedelta(0):
        return NOT_FOUND
    if age >= TTL:
        return OUTSIDE_MAX_AGE
    return NOT_FOUND if value is None else NULL_VALUE if value == b"" else PRESENT


def test_without_a_ttl_nothing_expires():
    for ttl in (None, timedelta(0)):
        response = answered([[stored("x"), None, time(timedelta(days=9_000))]], ttl=ttl)
        assert [list(v.statuses) for v in response.results] == [[PRESENT], [NOT_FOUND]]


def test_without_a_ttl_a_row_begins_at_its_event_time_too():
    """Rule 12."""
    for age, wanted in ((timedelta(microseconds=-1), NOT_FOUND), (timedelta(0), PRESENT)):
        response = answered([[stored("x"), stored("y"), time(age)]], ttl=None)
        assert [list(v.statuses) for v in response.results] == [[wanted], [wanted]]


def test_no_rows_are_an_answer_too():
    assert [list(v.values) for v in answered([]).results] == [[], []]


def test_bytes_that_are_no_values_are_said():
    with pytest.raises(OnlineError, match="v: the store holds bytes that are no values"):
        answered([[b"\x12\x05ab", b"", time(timedelta(0))]])
