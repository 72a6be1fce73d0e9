"""Every benchmark at one size, one after the other, and how the goals fared.

    python -m benchmarks [--size s|m|l] [name ...]

Size s takes about a minute and is what continuous integration runs; m and l are for figures to be quoted, on a
machine that does nothing else. The exit code is 1 where an answer of ours was wrong or a goal of that size was missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.harness import REPOSITORY

NOT_BENCHMARKS = frozenset({"__init__", "__main__", "harness", "http_load", "made_up"})
SIZES = ("s", "m", "l")
#: What `check_goals` prints, by its first word.
SAID = ("reached", "MISSED")


def main() -> int:
    """Run them, then print the goals."""
    there = sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - NOT_BENCHMARKS)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"some of: {', '.join(there)}")
    parser.add_argument("--size", choices=SIZES, default="s")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(there))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(there)}")
    goals: list[tuple[str, str]] = []
    failed = []
    for name in given.names or there:
        print(f"\n== {name}, size {given.size}", flush=True)
        lines, code = run(name, given.size)
        goals += [(name, line) for line in lines if line.startswith(SAID)]
        if code != 0:
            failed.append(name)
    show(goals, failed)
    return 1 if failed else 0


def run(name: str, size: str) -> tuple[list[str], int]:
    """One benchmark's lines, printed as they come, and its exit code."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--size", size]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        lines = list(_printed(process))
    return lines, process.returncode


def _printed(process: subprocess.Popen[str]) -> Iterator[str]:
    for line in process.stdout or ():
        print(line, end="", flush=True)
        yield line.rstrip("\n")


def show(goals: Sequence[tuple[str, str]], failed: Sequence[str]) -> None:
    """The goals that this size has data for, and the benchmarks that ended with an error."""
    table = Table(title="Goals", title_justify="left")
    for heading in ("benchmark", "", "goal"):
        table.add_column(heading)
    for name, line in goals:
        said, _, what = line.partition(" ")
        table.add_row(name, said, what.strip())
    console = Console(width=140)
    if goals:
        console.print(table)
    console.print(f"failed: {', '.join(failed)}" if failed else "every answer of ours was right")


if __name__ == "__main__":
    sys.exit(main())
