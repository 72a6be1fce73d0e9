"""Run the templates of a domain and put their files in place.

A domain is a folder of SQL templates, run in the order of their names in one DuckDB connection:

- `<number>_<table>.sql` is an output: its last statement is the query of `<table>.<format>`.
- `<number>_<what>.setup.sql` only prepares: tables, views and macros for the templates after it.

A template sees the request (`events`, `days`, `seed`, `start`, `end`, `shares`) and two SQL macros:
`draw(key, salt)`, a number in [0, 1), and `pick(key, salt, n)`, an integer in [0, n). Both are
hashes of their arguments and the seed, never DuckDB's `random()`, so a row is the same whatever the
number of threads. A template that plants faults leaves their counts in a temporary table
`planted(kind, planted_rows)`.

Nothing here knows a table by name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date, timedelta
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, get_args

from featmill.errors import FeatmillError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import duckdb

FileFormat = Literal["parquet", "csv"]

#: The midnight the data ends at. A constant: the same request gives the same data on any day.
DEFAULT_END = date(2026, 1, 1)

_DOMAIN = "shop"
_MEMORY_LIMIT = "1400MB"
_MOST_EVENTS = 1_000_000_000
_MOST_DAYS = 3_660
_MOST_SEED = 2**63 - 1
_EARLIEST_END = date(1980, 1, 1)
_LARGEST_SHARE = 0.5
_SUFFIX_SETUP = ".setup.sql"

# The top 53 bits of a hash fill a double exactly. The salt goes into the key before hashing: DuckDB
# combines the hashes of several arguments with a bare XOR, which would make two draws of one key
# functions of each other.
_RANDOMNESS = """
create temp macro draw(key, salt) as
    (hash(xor(cast(key as ubigint), hash(salt, {seed}))) >> 11) * 1.1102230246251565e-16;
create temp macro pick(key, salt, n) as cast(floor(draw(key, salt) * n) as bigint);
"""


@dataclass(frozen=True, slots=True)
class DirtyShares:
    """How much is wrong on purpose, each a share of the events between 0 and 0.5.

    An event has at most one of late, NULL key, NULL time and future; being sent twice and landing
    out of order come on top.

    Raises:
        UsageError: a share is out of its range, or the exclusive ones sum to more than 1.
    """

    late: float = 0.02
    duplicate: float = 0.01
    out_of_order: float = 0.05
    null_key: float = 0.005
    null_time: float = 0.002
    future: float = 0.002

    def __post_init__(self) -> None:
        for each in fields(self):
            share = getattr(self, each.name)
            if not 0 <= share <= _LARGEST_SHARE:
                option = _option(each.name)
                raise UsageError(
                    f"{option}: expected a share from 0 to {_LARGEST_SHARE}, got {share}"
                )
        exclusive = self.late + self.null_key + self.null_time + self.future
        if exclusive > 1:
            raise UsageError(
                "--late, --null-key, --null-time and --future: an event has at most one of these, "
                f"so they can sum to 1 at most, got {exclusive:g}"
            )


@dataclass(frozen=True, slots=True)
class GeneratedFile:
    """One file that was written, and how many of its rows have which planted fault."""

    name: str
    path: Path
    rows: int
    bytes: int
    planted: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Request:
    events: int
    days: int
    seed: int
    end: date
    shares: DirtyShares

    def __post_init__(self) -> None:
        bounds = {"events": (1, _MOST_EVENTS), "days": (1, _MOST_DAYS), "seed": (0, _MOST_SEED)}
        for name, (least, most) in bounds.items():
            given = getattr(self, name)
            if not least <= given <= most:
                raise UsageError(
                    f"{_option(name)}: expected a number from {least} to {most}, got {given}"
                )
        if self.end < _EARLIEST_END:
            raise UsageError(f"--end: expected {_EARLIEST_END} or later, got {self.end}")

    def render(self, template: str) -> str:
        """The template as SQL; a name it misspells is an error, not an empty string."""
        from jinja2 import Environment, StrictUndefined

        environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701 - SQL
        return environment.from_string(template).render(
            events=self.events,
            days=self.days,
            seed=self.seed,
            start=self.end - timedelta(days=self.days),
            end=self.end,
            shares=asdict(self.shares),
        )


@dataclass(frozen=True, slots=True)
class _Script:
    name: str
    template: str
    is_output: bool


def generate(  # noqa: PLR0913 - each is one option of the command
    out: Path,
    *,
    events: int,
    days: int,
    seed: int,
    end: date = DEFAULT_END,
    shares: DirtyShares | None = None,
    file_format: FileFormat = "parquet",
    threads: int | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[GeneratedFile]:
    """Write the demonstration domain's tables to `out`, all of them or none.

    Args:
        out: The folder; made where missing. Files of the same name are replaced.
        events: Rows of the largest table; the others scale with it.
        days: How many days the data spans, the last one ending at `end`.
        seed: Another seed, other data. The same arguments give the same rows in the same order.
        end: The midnight, in UTC, before which every event that is not future-dated happens.
        shares: What is wrong on purpose; None = the defaults of `DirtyShares`.
        file_format: `parquet` or `csv`.
        threads: How many threads DuckDB uses; None = one per core. The data does not depend on it.
        on_progress: Called with what runs next, how many scripts are done and how many there are.

    Raises:
        UsageError: an argument is out of its range, or `out` cannot take the files.
        FeatmillError: DuckDB could not finish; nothing was written.
    """
    if file_format not in get_args(FileFormat):
        raise UsageError(f"--format: expected parquet or csv, got {file_format!r}")
    request = _Request(events, days, seed, end, shares or DirtyShares())
    scripts = list(_scripts())
    _prepare(out, [script.name for script in scripts if script.is_output], file_format)
    try:
        # Beside the targets, so that putting a file in place is a rename within one file system.
        with TemporaryDirectory(prefix=".generate-", dir=out) as work:
            written = _run(request, scripts, Path(work), file_format, (threads, on_progress))
            return [_put_in_place(file, out) for file in written]
    except OSError as error:
        raise UsageError(
            f"cannot write to {out}: {error.strerror or error}",
            hint="free the folder, or choose another with --out",
        ) from error


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _scripts() -> Iterator[_Script]:
    folder = resources.files("featmill.generator") / _DOMAIN
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            is_output = not file.name.endswith(_SUFFIX_SETUP)
            stem = file.name.removesuffix(_SUFFIX_SETUP).removesuffix(".sql")
            yield _Script(stem.partition("_")[2], file.read_text(encoding="utf-8"), is_output)


def _prepare(out: Path, names: list[str], file_format: FileFormat) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {out}: {error.strerror or error}",
            hint="choose another with --out",
        ) from error
    # A folder of sources holds one form of a table: a second one would be ambiguous to readers.
    for name in names:
        others = [out / name] + [
            out / f"{name}.{other}" for other in get_args(FileFormat) if other != file_format
        ]
        rival = next((other for other in others if other.exists()), None)
        if rival is not None:
            raise UsageError(
                f"{rival} exists and would compete with {name}.{file_format}",
                hint="remove it, or choose another folder with --out",
            )


def _run(
    request: _Request,
    scripts: list[_Script],
    work: Path,
    file_format: FileFormat,
    running: tuple[int | None, Callable[[str, int, int], None] | None],
) -> list[GeneratedFile]:
    import duckdb

    threads, on_progress = running
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY_LIMIT,
        "temp_directory": str(work),
    }
    if threads is not None:
        config["threads"] = threads
    written = []
    try:
        with duckdb.connect(config=config) as connection:
            connection.execute(_RANDOMNESS.format(seed=request.seed))
            for done, script in enumerate(scripts):
                if on_progress is not None:
                    on_progress(script.name, done, len(scripts))
                *setup, last = duckdb.extract_statements(request.render(script.template))
                for statement in setup if script.is_output else [*setup, last]:
                    connection.execute(statement)
                if script.is_output:
                    path = work / f"{script.name}.{file_format}"
                    written.append(_write(connection, last.query, path, file_format))
    except duckdb.Error as error:
        raise FeatmillError(
            f"generating stopped: {str(error).splitlines()[0]}",
            hint="nothing was written; ask for fewer --events, or free memory and disk",
        ) from error
    return written


def _write(
    connection: duckdb.DuckDBPyConnection, query: str, path: Path, file_format: FileFormat
) -> GeneratedFile:
    options = "format parquet" if file_format == "parquet" else "format csv, header"
    source = query.strip().removesuffix(";")
    counted = connection.execute(f"copy ({source}) to ? ({options})", [str(path)]).fetchone()
    return GeneratedFile(
        name=path.stem,
        path=path,
        rows=counted[0] if counted is not None else 0,
        bytes=path.stat().st_size,
        planted=_take_planted(connection),
    )


def _take_planted(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    found = connection.execute("from duckdb_tables() where table_name = 'planted'").fetchone()
    if found is None:
        return {}
    planted = dict(connection.execute("select kind, planted_rows from planted").fetchall())
    connection.execute("drop table planted")
    return planted


def _put_in_place(file: GeneratedFile, out: Path) -> GeneratedFile:
    target = out / file.path.name
    file.path.replace(target)
    return replace(file, path=target)
