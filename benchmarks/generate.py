"""How long `featmill generate` takes and how much memory.

    python -m benchmarks.generate [--size s|m|l]

Each run has a process of its own, so that its peak is its own. Ten million events (size l) are expected in under a
minute within 2 GiB on two cores; the exit code says whether they were.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from featmill.generator import generate

SIZES = {"s": 100_000, "m": 1_000_000, "l": 10_000_000}
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


def main() -> int:
    """Measure a size, or be what is measured; 1 where the bounds are broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="m")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        measure(given.measure)
        return 0
    events = SIZES[given.size]
    command = [sys.executable, "-m", "benchmarks.generate", "--measure", str(events)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, peak = (float(word) for word in answer.split())
    print(f"{'events':>12} {'seconds':>8} {'events/s':>10} {'peak MiB':>9}")
    print(f"{events:>12,} {seconds:>8.1f} {events / seconds:>10,.0f} {peak:>9,.0f}")
    return 0 if seconds < MOST_SECONDS and peak < MOST_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
