"""`featmill snapshots` on a lake without Delta: what it refuses before it reads any."""

from __future__ import annotations

import pytest

from featmill.cli.snapshots import snapshots
from featmill.errors import UsageError


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("FEATMILL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("asked", ["nope", "van__*", ""])
def test_a_table_that_is_not_published_is_refused_and_the_published_are_listed(home, asked):
    for table in ("van__trips", "dock__load"):
        (home / "lake" / "default" / table / "v1" / "_delta_log").mkdir(parents=True)

    with pytest.raises(UsageError, match="no feature table") as refused:
        snapshots(table=asked)

    assert repr(asked) in refused.value.message
    assert refused.value.hint == "published: dock__load, van__trips"


def test_where_nothing_is_published_it_says_so():
    with pytest.raises(UsageError, match="no feature table 'van__trips'") as refused:
        snapshots(table="van__trips")

    assert refused.value.hint == "published: nothing yet"
