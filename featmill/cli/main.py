"""`featmill`: every command, and what an error comes to."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

import typer

from featmill.cli import console
from featmill.errors import FeatmillError

app = typer.Typer(
    name="featmill",
    help="A feature store for teams that already have dbt.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
#: The modules of `featmill.cli` that have commands, in the order of `featmill --help`.
_COMMANDS = (
    "backfill",
    "build",
    "check",
    "conformance",
    "demo",
    "export",
    "generate",
    "iceberg",
    "index",
    "intervals",
    "keys",
    "leakage",
    "maintenance",
    "online",
    "promote",
    "promotions",
    "read",
    "selection",
    "serve",
    "served",
    "snapshots",
    "train",
)
for name in _COMMANDS:
    import_module(f"featmill.cli.{name}").register(app)

#: What a shell says of a program that was interrupted: 128 + SIGINT.
_INTERRUPTED = 130

#: Every library we start is told not to phone home; in closed networks it would also be slow.
_TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    "FEAST_USAGE": "False",
}


def main() -> None:
    """Run the command line: exit code 0, or 1 or 2 with a message and no traceback; 130 where it was interrupted."""
    os.environ.update(
        {name: value for name, value in _TELEMETRY_OFF.items() if name not in os.environ}
    )
    with _noted_interrupts() as interrupts:
        try:
            app()
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)
        except BrokenPipeError:
            # The reader of a pipe left. What Python would flush on its way out has nowhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            os._exit(1)
        except (FeatmillError, OSError) as error:
            if interrupts:
                sys.exit(_INTERRUPTED)
            known = error if isinstance(error, FeatmillError) else _of_the_system(error)
            console.report(known)
            sys.exit(known.exit_code)


@contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
    """The interrupts so far: dbt catches them and says that the build failed, which it did not."""
    noted: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        noted.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _of_the_system(error: OSError) -> FeatmillError:
    """A folder that cannot be made, a disk that is full: what the system said, and of which file."""
    said = error.strerror or str(error) or type(error).__name__
    return FeatmillError(said if error.filename is None else f"{error.filename}: {said}")


if __name__ == "__main__":
    main()
