"""Reads while releases go live, in both ways, and back: no answer mixes what it says it does not (rule 21)."""

from __future__ import annotations

import threading

import pytest

from featmill.contract.catalog import Catalog
from featmill.online.serving_state import PublishMode
from featmill.serving.reader import FeatureReader
from tests.integration.serving.chain import CLICKS, day
from tests.integration.serving.stored import service

pytestmark = pytest.mark.redis

ROWS = 3_000
#: Spread over the keys, so that a replacement in place is met half-way.
ASKED = list(range(0, ROWS, 97))


@pytest.fixture
def days(chain):
    """Two releases of one table; every value says which day it is of."""
    return [
        chain.publish(CLICKS, day(n), [(e, day(n), e * 10 + n, f"{e}:{n}") for e in range(ROWS)])
        for n in (1, 2)
    ]


class Reading(threading.Thread):
    """Reads without pause, and notes what is wrong."""

    def __init__(self, chain):
        super().__init__(daemon=True)
        features = service("clicks:count_7d", "clicks:city")
        catalog = Catalog(project="shop", tables=(CLICKS,), services=(features,), sources=())
        self._reader = FeatureReader.open(catalog, chain.target)
        self._is_over = threading.Event()
        self.wrong = []
        self.seen = []

    def run(self):
        while not self._is_over.is_set():
            answer = self._reader.read("ranking", {"user_id": ASKED}, as_of=day(2))
            counts, cities = answer.values
            days = [count % 10 for count in counts if count is not None]
            snapshot = answer.views[0].snapshot
            is_whole = cities == [f"{e}:{n}" for e, n in zip(ASKED, days, strict=False)]
            if (
                answer.degraded is not None
                or not is_whole
                or set(answer.statuses) != {bytes(len(ASKED))}
            ):
                self.wrong.append(answer)
            # Who names a snapshot has nothing but its rows.
            if snapshot is not None and len(set(days)) != 1:
                self.wrong.append(answer)
            said = (snapshot is not None, frozenset(days))
            if not self.seen or self.seen[-1] != said:
                self.seen.append(said)

    def finish(self):
        self._is_over.set()
        self.join(30)
        self._reader.close()


@pytest.mark.parametrize("mode", PublishMode)
def test_no_answer_mixes_two_releases(chain, days, mode):
    chain.promote(days[0], mode=mode)
    reading = Reading(chain)
    reading.start()
    try:
        chain.promote(days[1], mode=mode)
        chain.rollback()
    finally:
        reading.finish()

    assert reading.wrong == []
    named = [days for is_named, days in reading.seen if is_named]
    assert named[0] == named[-1] == {1}
    assert frozenset({2}) in named
    if mode is PublishMode.GENERATION:
        assert len(named) == len(reading.seen)
