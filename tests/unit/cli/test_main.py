"""What an error comes to: a message and an exit code, never a traceback."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from featmill.cli import main as command_line
from featmill.errors import BuildError, GateFailed, UsageError


@pytest.fixture
def run(monkeypatch, capfd):
    """`run(raising)`: the exit code and what was said where a command raises it."""

    def running(raising):
        monkeypatch.setattr(command_line, "app", raising)
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        said = capfd.readouterr()
        assert "Traceback" not in said.out + said.err
        return ended.value.code, said.err

    return running


def raises(error):
    def raising():
        raise error

    return raising


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("not so", hint="but so"), 2, "error: not so\nhint: but so\n"),
        (GateFailed("a [red] test failed"), 1, "error: a [red] test failed\n"),
    ],
)
def test_an_error_of_ours_is_its_message_its_hint_and_its_code(run, error, code, said):
    assert run(raises(error)) == (code, said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/a/b"),
            "/a/b: No such file or directory",
        ),
        (
            NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "/dev/null/x"),
            "/dev/null/x: Not a directory",
        ),
        (IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), "/a"), "/a: Is a directory"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "No space left on device",
        ),
        (OSError("the library's own words"), "the library's own words"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_of_the_system_is_one_line_with_its_file(run, error, said):
    assert run(raises(error)) == (1, f"error: {said}\n")


def test_a_folder_below_a_file_is_named(run, tmp_path):
    """The real thing, whatever the system calls it."""
    (tmp_path / "file").touch()

    code, said = run(lambda: (tmp_path / "file" / "home").mkdir(parents=True))

    assert (code, said) == (1, f"error: {tmp_path}/file/home: Not a directory\n")


def test_an_interrupt_is_quiet(run):
    assert run(raises(KeyboardInterrupt)) == (130, "")


def test_an_interrupt_that_dbt_took_for_a_failure_is_quiet_too(run):
    def swallowing():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise BuildError("") from None

    before = signal.getsignal(signal.SIGINT)

    assert run(swallowing) == (130, "")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    """Whoever reports it needs it."""
    monkeypatch.setattr(command_line, "app", raises(ZeroDivisionError()))

    with pytest.raises(ZeroDivisionError):
        command_line.main()
