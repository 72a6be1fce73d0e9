"""A read is of one generation whatever flips meanwhile; one that is removed is never read as `missing` (rule 21)."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from featmill.contract.catalog import FeatureRef, FeatureService, ServingPolicy
from featmill.serving.reader import FeatureReader
from orchestration import online_views, publication
from tests.integration.serving.chain import CLICKS, ORDERS, day

pytestmark = pytest.mark.redis

ENTITIES = 60
FLIPS = 20
READERS = 3
SERVICE = FeatureService(
    name="both",
    description="",
    owner=None,
    features=(
        FeatureRef(view="clicks", feature="count_7d"),
        FeatureRef(view="clicks", feature="city"),
        FeatureRef(view="orders", feature="total"),
    ),
    # What is looked at is which rows are read, not how late.
    policy=ServingPolicy(deadline=timedelta(seconds=20)),
)


@pytest.fixture
def days(chain):
    """Three releases of two views; every value says of which day it is."""
    chain.tables = (CLICKS, ORDERS)
    found = []
    for n in (1, 2, 3):
        clicks = chain.snapshot(CLICKS, day(n), [(k, day(n), n, f"{n}") for k in range(ENTITIES)])
        orders = chain.snapshot(ORDERS, day(n), [(k, day(n), float(n)) for k in range(ENTITIES)])
        found.append(chain.release(clicks, orders))
    return found


class Readers:
    """Threads that read all the time; each answer is noted as the set of what it is made of."""

    def __init__(self, chain):
        catalog = chain.catalog.model_copy(update={"services": (SERVICE,)})
        self.answers, self.errors, self.degraded = [], [], []
        self._stop = threading.Event()
        self._readers = [FeatureReader.open(catalog, chain.target) for _ in range(READERS)]
        self._threads = [
            threading.Thread(target=self._read, args=(reader,)) for reader in self._readers
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)
        for reader in self._readers:
            reader.close()

    def _read(self, reader):
        keys = {"user_id": list(range(ENTITIES))}
        try:
            while not self._stop.is_set():
                answer = reader.read("both", keys, as_of=day(9))
                counts, cities, totals = answer.values
                made_of = {*counts, *map(_number, cities), *map(_number, totals)}
                snapshots = {view.snapshot for view in answer.views}
                self.answers.append((frozenset(made_of), frozenset(snapshots)))
                if answer.degraded is not None:
                    self.degraded.append(answer.degraded)
        except BaseException as error:
            self.errors.append(error)
            raise


def _number(value):
    return None if value is None else int(float(value))


def check(readers, snapshots):
    """Every answer is of one day and says which."""
    assert (readers.errors, readers.degraded) == ([], [])
    for made_of, told in readers.answers:
        assert len(made_of) == 1, made_of
        (one,) = made_of
        assert told == snapshots[one]


@pytest.fixture
def snapshots(chain, days):
    """Of each day the snapshots of its release."""
    found = [frozenset(chain.registry.find(release).snapshots.values()) for release in days]
    return dict(enumerate(found, start=1))


def test_flips_and_rollbacks_under_reads(chain, days, snapshots):
    for release in days:
        chain.promote(release)

    with Readers(chain) as readers:
        for n in range(FLIPS):
            before = len(readers.answers)
            chain.rollback(days[n % 3])
            while len(readers.answers) < before + READERS and not readers.errors:
                pass

    check(readers, snapshots)
    assert {one for made_of, _ in readers.answers for one in made_of} == {1, 2, 3}


def test_generations_that_are_removed_under_reads(chain, days, snapshots):
    chain.settings = chain.settings.model_copy(update={"keep_generations": 0})
    chain.promote(days[0])

    with Readers(chain) as readers:
        for n in range(1, 8):
            chain.promote(days[n % 3], again=True)

    check(readers, snapshots)
    assert chain.keys() == ENTITIES


def test_in_place_an_answer_names_no_snapshot_while_it_may_be_of_two(chain, days, snapshots):
    """A reader begun before the rows are replaced learns of it with its next read."""
    chain.promote(days[0], mode="in_place")
    seen: list[list[str | None]] = []
    write = online_views.write_view

    def watched(job, on_step):
        done = write(job, on_step)
        answer = reader.read("both", {"user_id": [1]}, as_of=day(9))
        seen.append([view.snapshot for view in answer.views])
        return done

    catalog = chain.catalog.model_copy(update={"services": (SERVICE,)})
    reader = FeatureReader.open(catalog, chain.target)
    reader.read("both", {"user_id": [1]}, as_of=day(9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publication, "write_view", watched)
        chain.promote(days[1], mode="in_place")
    after = reader.read("both", {"user_id": [1]}, as_of=day(9))
    reader.close()

    old = chain.registry.find(days[0]).snapshots
    assert seen == [[None, old["orders"]], [chain.registry.find(days[1]).snapshots["clicks"], None]]
    assert {view.snapshot for view in after.views} == snapshots[2]
