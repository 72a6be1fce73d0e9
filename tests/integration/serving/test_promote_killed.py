"""Killed anywhere, a promotion or a rollback is finished by running it again, and no reader saw a mix (rule 21)."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from featmill.errors import NotNewer, UsageError
from featmill.warehouse import promotions
from tests.integration.serving.chain import CLICKS, day
from tests.integration.serving.kills import POINTS, Killed, killed

pytestmark = pytest.mark.redis

ROWS = 400
BEFORE_THE_FLIP = list(POINTS)[: list(POINTS).index("after the flip")]
OLD, NEW = "day 1", "day 2"


def rows(number):
    return [(n, day(number), n * 100 + number, f"day {number}") for n in range(ROWS)]


@pytest.fixture
def days(chain):
    """Two releases."""
    return [chain.publish(CLICKS, day(n), rows(n)) for n in (1, 2)]


def seen(chain):
    """Which days the readers of a few entities see."""
    return {chain.served(n)[1].strip('"') for n in range(0, ROWS, 37)}


def dies(point, action, *given, **more):
    with pytest.MonkeyPatch.context() as patch:
        POINTS[point](patch, killed)
        with pytest.raises(Killed):
            action(*given, **more)


@pytest.mark.parametrize("point", POINTS)
def test_a_generation_serves_whole_or_not_at_all_and_the_rerun_finishes(chain, days, point):
    chain.promote(days[0])

    dies(point, chain.promote, days[1])

    assert seen(chain) == ({OLD} if point in BEFORE_THE_FLIP else {NEW})
    chain.promote(days[1])
    assert seen(chain) == {NEW}
    assert chain.ledger() == [("live", days[0]), ("live", days[1])]
    live = chain.serving().rows_project
    assert chain.generations() == {"shop__g1": (days[0], "kept"), live: (days[1], "live")}
    assert chain.keys() == 2 * ROWS
    chain.verify()


@pytest.mark.parametrize("point", [p for p in POINTS if p != "after the proof"])
def test_in_place_the_state_says_incomplete_until_the_rerun_finishes(chain, days, point):
    chain.promote(days[0], mode="in_place")

    dies(point, chain.promote, days[1], mode="in_place")

    # Rows were written: whatever a reader finds, it is told that it may be of either.
    if point in ("before the first row", "after the epoch"):
        assert (seen(chain), chain.serving().is_complete) == ({OLD}, True)
    elif point in BEFORE_THE_FLIP:
        assert not chain.serving().is_complete
    chain.promote(days[1], mode="in_place")
    assert (seen(chain), chain.serving().is_complete) == ({NEW}, True)
    assert chain.ledger() == [("live", days[0]), ("live", days[1])]
    assert chain.keys() == ROWS
    chain.verify()


@pytest.mark.parametrize(
    "point", ["during the rows", "before the flip", "after the flip", "before the ledger"]
)
@pytest.mark.parametrize("mode", ["in_place", "generation"])
def test_a_promotion_that_died_is_taken_back(chain, days, point, mode):
    """The rollback goes back to what was live before it, whether the ledger was told or not."""
    chain.promote(days[0], mode=mode)
    dies(point, chain.promote, days[1], mode=mode)
    untouched = chain.serving().release_id == days[0]

    if untouched:
        # Nothing of it is live, and nothing was live before the first.
        with pytest.raises(UsageError, match="nothing was live before"):
            chain.rollback()
    else:
        assert chain.rollback().release_id == days[0]

    assert seen(chain) == {OLD}
    assert chain.serving().is_complete
    chain.verify(days[0])


def test_the_next_promotion_makes_good_what_another_left(chain, days):
    """What served without the ledger's knowledge is told to it, as of then, and kept for a rollback."""
    chain.promote(days[0])
    dies("after the flip", chain.promote, days[1])
    flipped_at = chain.serving().flipped_at

    third = chain.publish(CLICKS, day(3), rows(3))
    chain.promote(third)

    assert chain.ledger() == [("live", days[0]), ("live", days[1]), ("live", third)]
    assert promotions.ledger(chain.registry.lake)[1].promoted_at == flipped_at
    assert chain.generations()["shop__g2"] == (days[1], "kept")
    assert chain.rollback().views == ()
    assert seen(chain) == {NEW}


@pytest.mark.parametrize("point", ["before the flip", "after the flip"])
def test_a_rollback_that_died_is_finished_and_not_done_twice(chain, days, point):
    third = chain.publish(CLICKS, day(3), rows(3))
    for release in (*days, third):
        chain.promote(release)

    dies(point, chain.rollback)
    done = chain.rollback()

    assert done.release_id == days[1]
    assert seen(chain) == {NEW}
    assert chain.ledger()[3:] == [("rollback", days[1])]
    with pytest.raises(NotNewer):
        chain.promote(third)


@pytest.mark.parametrize("point", ["during the rows", "before the proof", "before the flip"])
def test_a_rollback_in_place_that_died_is_finished(chain, days, point):
    for release in days:
        chain.promote(release, mode="in_place")

    dies(point, chain.rollback)

    assert not chain.serving().is_complete
    assert chain.rollback().release_id == days[0]
    assert (seen(chain), chain.serving().is_complete) == ({OLD}, True)
    assert chain.ledger()[2:] == [("rollback", days[0])]


@pytest.mark.parametrize(
    ("point", "command"),
    [
        ("during the rows", "generation"),
        ("after the flip", "generation"),
        ("during the rows", "in_place"),
    ],
)
def test_kill_nine(chain, days, tmp_path, repository, point, command):
    chain.promote(days[0], mode=command)
    script = [sys.executable, "-m", "tests.integration.serving.kills"]
    given = [str(tmp_path), chain.target.socket_path, point, command, days[1]]

    done = subprocess.run(
        [*script, *given], cwd=repository, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    if command == "generation":
        assert seen(chain) == ({OLD} if point == "during the rows" else {NEW})
    else:
        assert not chain.serving().is_complete
    chain.promote(days[1], mode=command)
    assert seen(chain) == {NEW}
    assert chain.ledger() == [("live", days[0]), ("live", days[1])]
    chain.verify()
