"""The circuit breaker: when the store is left alone, and who tries whether it is back."""

from __future__ import annotations

import pytest

from featmill.serving.breaker import Breaker

LOST = TimeoutError("late")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker("ranking", 3, 0.5, clock=clock)


def fail(breaker, times):
    for _ in range(times):
        assert breaker.admits()
        breaker.failed(LOST)


def test_it_opens_after_failures_in_a_row(breaker):
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert (breaker.state, breaker.admits()) == ("closed", True)

    breaker.failed(LOST)

    assert (breaker.state, breaker.admits()) == ("open", False)


def test_after_the_pause_one_request_tries(breaker, clock):
    fail(breaker, 3)
    clock.now += 0.49
    assert not breaker.admits()
    clock.now += 0.01

    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    assert breaker.state == "half_open"


def test_a_probe_that_succeeds_closes_it(breaker, clock):
    fail(breaker, 3)
    clock.now += 0.5
    assert breaker.admits()

    breaker.succeeded()

    assert (breaker.state, [breaker.admits() for _ in range(3)]) == ("closed", [True] * 3)
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_a_probe_that_fails_opens_it_for_another_pause(breaker, clock):
    fail(breaker, 3)
    clock.now += 0.5
    assert breaker.admits()

    breaker.failed(LOST)

    assert (breaker.state, breaker.admits()) == ("open", False)
    clock.now += 0.5
    assert breaker.admits()


def test_a_probe_that_never_comes_back_does_not_keep_it_shut(breaker, clock):
    fail(breaker, 3)
    clock.now += 0.5
    assert breaker.admits()
    clock.now += 0.5

    assert breaker.admits()


def test_a_late_success_does_not_close_it(breaker):
    fail(breaker, 3)

    breaker.succeeded()

    assert breaker.state == "open"
