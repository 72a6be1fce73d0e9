"""What every comparison shares: contenders in processes of their own, rounds interleaved, CPU and peak memory, goals.

A benchmark is a module that runs one contender where it is called with `--contender NAME --work FOLDER` and prints its
measures with `report`; called without, it prepares data and calls `run_rounds`. A wrong answer is WRONG, an engine that
takes too long is DNF (did not finish), and neither has a ratio.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parent.parent
GOALS = Path(__file__).with_name("goals.toml")
#: ru_maxrss is in KiB on Linux and in bytes on macOS.
RSS_PER_MIB = 1024**2 if sys.platform == "darwin" else 1024
Answer = TypeVar("Answer")
QUIET = {"DO_NOT_TRACK": "1", "FEAST_USAGE": "False", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: seconds, peak MiB of the process and its children, and a checksum of the answer (None: not asked)."""

    wall: float
    cpu: float
    peak_mib: float
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One contender's rounds: its best measures, or why there are none (`WRONG`, `DNF`, `failed`)."""

    name: str
    best: Measured | None
    verdict: str = "ok"


@dataclass(frozen=True, slots=True)
class Goal:
    """`engine` shall be at least `at_least` times as good as `against`, or at most `at_most` times as dear.

    In `measure`, a field of Measured; `size` says on which data.
    """

    case: str
    size: str
    engine: str
    against: str
    measure: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None


def measured(action: Callable[[], Answer]) -> tuple[Measured, Answer]:
    """What an action costs this process and its children, and what it returns."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    answer = action()
    return Measured(time.perf_counter() - wall, cpu_seconds() - cpu, peak_mib()), answer


def cpu_seconds() -> float:
    """User and system seconds of this process and of the children that live (a JVM, say)."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    tick = os.sysconf("SC_CLK_TCK")
    of_children = 0.0
    for child in _descendants():
        fields = _read(child / "stat").rpartition(")")[2].split()
        of_children += sum(int(field) for field in fields[11:13]) / tick if fields else 0.0
    return own.ru_utime + own.ru_stime + of_children


def peak_mib() -> float:
    """The most memory that this process has held so far, and its living children.

    Linux counts it in VmHWM; ru_maxrss there begins with what the process that started this one had held.
    """
    own = _high_water(Path("/proc/self"))
    if own is None:
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_PER_MIB
    return own + sum(_high_water(child) or 0 for child in _descendants())


def _high_water(process: Path) -> float | None:
    for line in _read(process / "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None


def _descendants() -> list[Path]:
    """Linux tells; elsewhere children are not counted."""
    found, waiting = [], [os.getpid()]
    while waiting:
        for text in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            children = [int(word) for word in _read(text).split()]
            waiting += children
            found += [Path(f"/proc/{child}") for child in children]
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def report(result: Measured) -> None:
    """Hand a contender's measures to the process that started it."""
    print("\n" + json.dumps(asdict(result)), flush=True)


def run_rounds(
    module: str, names: Sequence[str], work: Path, *, rounds: int, seconds: float
) -> dict[str, Outcome]:
    """Run each contender once a round, one after the other; of several rounds the least disturbed counts.

    Args:
        module: what to start, such as `benchmarks.point_in_time`.
        names: the contenders.
        work: the folder with their data.
        rounds: how many.
        seconds: what one run may take.
    """
    found: dict[str, list[Measured]] = {name: [] for name in names}
    verdicts: dict[str, str] = {}
    for _ in range(rounds):
        for name in names:
            if name in verdicts:
                continue
            result = _in_own_process(module, name, work, seconds)
            if isinstance(result, str):
                verdicts[name] = result
            else:
                found[name].append(result)
    return {name: Outcome(name, _best(found[name]), verdicts.get(name, "ok")) for name in names}


def _in_own_process(module: str, name: str, work: Path, seconds: float) -> Measured | str:
    command = [sys.executable, "-m", module, "--contender", name, "--work", str(work)]
    try:
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=os.environ | QUIET,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return "DNF"
    if done.returncode != 0:
        print(f"{name}: {done.stderr[-2_000:]}", file=sys.stderr)
        return "failed"
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _best(runs: Sequence[Measured]) -> Measured | None:
    if not runs:
        return None
    sums = {run.checksum for run in runs}
    return Measured(
        min(run.wall for run in runs),
        min(run.cpu for run in runs),
        min(run.peak_mib for run in runs),
        sums.pop() if len(sums) == 1 else "differs from round to round",
    )


def judged(outcomes: Mapping[str, Outcome], wanted: str) -> dict[str, Outcome]:
    """The outcomes with WRONG where an answer is not the wanted one."""
    return {
        name: Outcome(name, one.best, "WRONG")
        if one.best is not None and one.best.checksum not in (None, wanted)
        else one
        for name, one in outcomes.items()
    }


def show(title: str, outcomes: Mapping[str, Outcome], reference: str) -> None:
    """Print each contender's best measures, and how many times as dear the reference is."""
    table = Table(title=title, title_justify="left")
    for heading in ("", "answer", "wall s", "CPU s", "peak MiB", f"CPU of {reference}"):
        table.add_column(heading, justify="left" if heading in ("", "answer") else "right")
    base = outcomes[reference].best if reference in outcomes else None
    for one in outcomes.values():
        if one.best is None:
            table.add_row(one.name, one.verdict, "", "", "", "")
            continue
        ratio = f"{base.cpu / one.best.cpu:.1f} x" if base is not None and one.best.cpu > 0 else ""
        cells = [f"{one.best.wall:.2f}", f"{one.best.cpu:.2f}", f"{one.best.peak_mib:,.0f}"]
        table.add_row(one.name, one.verdict, *cells, ratio)
    Console(width=120).print(table)


def goals(benchmark: str) -> list[Goal]:
    """The goals of a benchmark, from `goals.toml`."""
    return [Goal(**fields) for fields in tomllib.loads(GOALS.read_text()).get(benchmark, [])]


def check_goals(benchmark: str, size: str, outcomes: Mapping[str, Outcome]) -> bool:
    """Print how a size's goals fare; False where one was missed. Without a right answer no goal is reached."""
    reached = True
    for goal in goals(benchmark):
        if goal.size != size or goal.engine not in outcomes or goal.against not in outcomes:
            continue
        said, is_reached = _judge(goal, outcomes[goal.engine], outcomes[goal.against])
        print(f"{'reached' if is_reached else 'MISSED '}  {goal.case}: {said}")
        reached = reached and is_reached
    return reached


def _judge(goal: Goal, ours: Outcome, theirs: Outcome) -> tuple[str, bool]:
    if ours.best is None or ours.verdict != "ok":
        return f"{ours.name} is {ours.verdict}", False
    if theirs.best is None:
        return f"{theirs.name} is {theirs.verdict}", theirs.verdict == "DNF"
    own, other = getattr(ours.best, goal.measure), getattr(theirs.best, goal.measure)
    if goal.at_least is not None:
        ratio = other / own
        return f"{ratio:.1f} {goal.unit}, goal >= {goal.at_least:g}", ratio >= goal.at_least
    ratio = own / other
    return f"{ratio:.2f} {goal.unit}, goal <= {goal.at_most:g}", ratio <= (goal.at_most or 0)
