"""`featmill`: every command, and what an error comes to."""

from __future__ import annotations

import errno
import os
import sys

import typer

from featmill.cli import build, check, console, demo, export, generate, online, snapshots, train
from featmill.errors import FeatmillError

app = typer.Typer(
    name="featmill",
    help="A feature store for teams that already have dbt.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for module in (build, check, demo, export, generate, online, snapshots, train):
    module.register(app)

#: Every library we start is told not to phone home; in closed networks it would also be slow.
_TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    "FEAST_USAGE": "False",
}


def main() -> None:
    """Run the command line: exit code 0, or 1 or 2 with a message and no traceback."""
    os.environ.update(
        {name: value for name, value in _TELEMETRY_OFF.items() if name not in os.environ}
    )
    try:
        app()
    except FeatmillError as error:
        console.report(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS):
            raise
        console.report(FeatmillError(f"{error.filename or 'the disk'}: {error.strerror}"))
        sys.exit(1)


if __name__ == "__main__":
    main()
