"""How long `featmill generate` takes and how much memory.

Run `python -m benchmarks.generate [EVENTS ...]`.

Each size runs in a process of its own, so that its peak is its own. Ten million events are expected
in under a minute
within 2 GiB on two cores; the exit code says whether they were.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from featmill.generator import generate

SIZES = (1_000_000, 10_000_000)
DAYS = 90
MOST_SECONDS = 60.0
MOST_MIB = 2048.0
#: ru_maxrss is in KiB on Linux and in bytes on macOS.
RSS_PER_MIB = 1024**2 if sys.platform == "darwin" else 1024


def measure(events: int) -> None:
    """Generate once in this process and print seconds and peak MiB."""
    with TemporaryDirectory() as folder:
        begun = perf_counter()
        generate(Path(folder), events=events, days=DAYS, seed=42)
        seconds = perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_PER_MIB
    print(seconds, peak)


def main(sizes: tuple[int, ...] = SIZES) -> int:
    """Measure each size; 1 where one broke the bounds."""
    print(f"{'events':>12} {'seconds':>8} {'events/s':>10} {'peak MiB':>9}")
    within = True
    for events in sizes:
        command = [sys.executable, "-m", "benchmarks.generate", "--measure", str(events)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds, peak = (float(word) for word in answer.split())
        print(f"{events:>12,} {seconds:>8.1f} {events / seconds:>10,.0f} {peak:>9,.0f}", flush=True)
        within = within and seconds < MOST_SECONDS and peak < MOST_MIB
    return 0 if within else 1


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--measure"]:
        measure(int(arguments[1]))
    else:
        sys.exit(main(tuple(int(argument) for argument in arguments) or SIZES))
