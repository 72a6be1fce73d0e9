"""The moments at which a promotion or a rollback can die, in this process or in one of its own."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from exporters.redis import generations
from featmill.online.connection import OnlineTarget
from orchestration import online_views, promotion, publication


class Killed(BaseException):
    """What dies here is no Exception: nothing may catch it."""


def killed():
    """Die as an exception."""
    raise Killed


def kill_nine():
    """Die as a process does."""
    os.kill(os.getpid(), signal.SIGKILL)


def _before(module, name, when=lambda *_: True):
    """Just before a function does its work."""

    def arm(patch, die):
        original = getattr(module, name)

        def armed(*given, **more):
            if when(*given):
                die()
            return original(*given, **more)

        patch.setattr(module, name, armed)

    return arm


def _after(module, name, when=lambda *_: True):
    """Just after a function did its work."""

    def arm(patch, die):
        original = getattr(module, name)

        def armed(*given):
            done = original(*given)
            if when(*given):
                die()
            return done

        patch.setattr(module, name, armed)

    return arm


def _during_rows(patch, die):
    """When a part of a view's rows is known to be there."""
    original = online_views.write_view

    def armed(write, _):
        def on_step(_view, rows, _total):
            if rows > 0:
                die()

        return original(write, on_step)

    patch.setattr(publication, "write_view", armed)


def _is(state):
    return lambda _target, _project, generation: (
        generation.state is generations.GenerationState(state)
    )


def _is_whole(_target, _project, state):
    """In place the state is written twice: first that rows are being replaced."""
    return state.is_complete


#: Where a promotion can die, in the order of its steps.
POINTS = {
    "after the epoch": _before(publication, "read_generations"),
    "before the first row": _before(publication, "write_view"),
    "during the rows": _during_rows,
    "before the proof": _before(publication, "compare_view"),
    "after the proof": _before(publication, "put_generation", _is("ready")),
    "before the flip": _before(generations, "put_state", _is_whole),
    "after the flip": _after(generations, "put_state", _is_whole),
    "before the ledger": _before(promotion, "record_live"),
    "before the removal": _before(promotion, "_clean"),
}


def main(folder: str, socket: str, point: str, command: str, argument: str) -> None:
    """Promote or roll back, and be killed at the point."""
    from tests.integration.serving.chain import Chain

    patch = pytest.MonkeyPatch()
    chain = Chain(Path(folder), OnlineTarget(socket_path=socket), patch)
    POINTS[point](patch, kill_nine)
    if command == "rollback":
        chain.rollback()
    else:
        chain.promote(argument, mode=command)
    sys.stdout.write("survived")


if __name__ == "__main__":
    main(*sys.argv[1:])
