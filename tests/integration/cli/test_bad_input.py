"""Whatever is wrong with what we are given, the command line says what, where and what it expected, and how to go on.

Exit code 1 or 2, one message on standard error, never a traceback.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pytest

from featmill.cli.main import main
from tests.projects.depot_project import fresh_depot

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

FEATURE = "dock__load:parcels_24h"
GOOD = "depot_code,dock_no,left_at\nN,11,2026-03-06 12:00:00\n"


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def depot(tmp_path_factory):
    """A built depot; what a test breaks it mends."""
    made = fresh_depot(tmp_path_factory)
    before = made.state()
    yield made
    assert made.state() == before, "a refused command changes nothing"


@pytest.fixture
def featmill(depot, capfd, monkeypatch):
    """`featmill(...)`: the command line on the depot, in this process, as dbt is slow to start."""

    def running(*arguments, **environment):
        monkeypatch.setattr(sys, "argv", ["featmill", *arguments, "--project-dir", str(depot.root)])
        with depot.environment(**environment), pytest.raises(SystemExit) as ended:
            main()
        return judged(ended.value.code, *capfd.readouterr())

    return running


def judged(code, out: str, err: str) -> Ended:
    """Of every command here: it failed in words."""
    assert code in (1, 2), out + err
    assert "Traceback" not in out + err
    assert err.strip().startswith("error: "), err
    return Ended(code, out, err)


@contextmanager
def moved(path):
    """It is not there for a while."""
    elsewhere = path.with_name(path.name + ".away")
    path.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(path)


def test_a_source_file_that_is_missing(featmill, depot):
    """Every place that was looked at, and the setting that says where."""
    with moved(depot.sources / "scans.csv"):
        ended = featmill("build")

    assert ended.code == 1
    assert "source table 'scans' has no file: looked for" in ended.err
    assert str(depot.sources / "scans.parquet") in ended.err
    assert "FEATMILL_SOURCES" in ended.err


@pytest.mark.parametrize("command", ["build", "check"])
def test_a_malformed_yml_is_named_with_its_line(featmill, depot, command):
    broken = depot.root / "models" / "broken.yml"
    broken.write_text("models:\n  - name: [x\n")
    try:
        ended = featmill(command)
    finally:
        broken.unlink()

    assert ended.code == 1
    assert "broken.yml" in ended.err
    assert "line 3" in ended.err
    assert "expected ',' or ']'" in ended.err


def test_a_mistake_in_a_declaration_is_named_with_its_line(featmill, depot):
    """By every command that needs the contract, not only by `check`."""
    name = "models/features/feat_van__trips.yml"
    text = (depot.root / name).read_text()
    line = next(n for n, said in enumerate(text.splitlines(), 1) if "entity:" in said)
    (depot.root / name).write_text(text.replace("entity:", "entty:"))
    try:
        ended = featmill("train", "x.csv", "--time-column", "t", "--out", "o.parquet")
    finally:
        (depot.root / name).write_text(text)

    assert ended.code == 2
    assert f"{name}:{line}" in ended.err
    assert "entty" in ended.err
    assert "hint: correct them" in ended.err


@pytest.mark.parametrize("command", [["export", "--no-feast"], ["verify"], ["live"]])
def test_a_redis_that_cannot_be_reached(featmill, command):
    ended = featmill(*command, FEATMILL_REDIS_URL="redis://:secret@127.0.0.1:1/0")

    assert ended.code == 1
    assert "no online store answers at redis://:***@127.0.0.1:1/0" in ended.err
    assert "hint: start the server, or point FEATMILL_REDIS_URL at another" in ended.err
    assert "secret" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("spine", "options", "said", "hint"),
    [
        (None, [], "expected an existing .parquet or .csv file", None),
        ("dock_no,left_at\n1,2026-03-05\n", [], "has no column depot_code", "it has: dock_no"),
        (GOOD + "N,1,\n,,2026-03-05 12:00:00\n", [], "has NULLs in left_at in 1 rows", "drop or"),
        (
            GOOD.replace(",11,", ",one,"),
            [],
            "key dock_no is VARCHAR, the contract says INT",
            "cast it in the spine",
        ),
        (GOOD, ["--zone", "Mars/X"], "there is no zone 'Mars/X'", "such as UTC"),
        (GOOD, ["--features", "dock__load"], "'dock__load' is not view:feature", None),
        (GOOD, ["--features", "nope:x"], "no feature table 'nope'", "dock__load"),
        (GOOD, ["--features", "dock__load:x"], "has no feature 'x'", "it has: parcels_24h"),
        (GOOD, ["--out", "{tmp}/spine.csv/o.parquet"], "spine.csv/o.parquet could not be", "--out"),
    ],
    ids=["missing", "no key", "NULLs", "key type", "zone", "form", "table", "feature", "output"],
)
def test_a_training_set_that_cannot_be_made(featmill, tmp_path, spine, options, said, hint):
    """Rules 1, 15 and 16."""
    path = tmp_path / "spine.csv"
    if spine is not None:
        path.write_text(spine)
    options = [text.format(tmp=tmp_path) for text in options]
    usual = {
        "--features": FEATURE,
        "--time-column": "left_at",
        "--zone": "UTC",
        "--out": str(tmp_path / "o.parquet"),
    }
    chosen = {**usual, **dict(zip(options[::2], options[1::2], strict=True))}

    ended = featmill("train", str(path), *(text for pair in chosen.items() for text in pair))

    assert ended.code == 2
    assert said in ended.err
    assert hint is None or ("hint: " in ended.err and hint in ended.err)
    assert {found.name for found in tmp_path.iterdir()} <= {"spine.csv"}


@pytest.mark.parametrize(
    ("as_of", "said"),
    [
        ("2026-02-01", "is before the data: the first event of the sources happened at 2026-03"),
        ("yesterday", "must be a UTC day (2026-01-31) or a moment with its zone"),
        ("2026-03-05T06:30:00", "must be a UTC day (2026-01-31) or a moment with its zone"),
    ],
)
def test_an_as_of_that_no_build_can_have(featmill, as_of, said):
    """Rules 1 and 2."""
    ended = featmill("build", "--as-of", as_of)

    assert ended.code == 2
    assert said in ended.err
    assert as_of in ended.err


def test_a_build_database_that_another_process_holds(featmill, depot):
    path = str(depot.settings.build_database)
    hold = (
        f"import duckdb, sys; c = duckdb.connect({path!r}); print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline().strip() == "1"
        ended = featmill("build")
        holder.stdin.close()

    assert ended.code == 1
    assert "another process holds the build database" in ended.err
    assert "build.duckdb" in ended.err
    assert "hint: wait for the other build to end" in ended.err


@pytest.mark.parametrize("command", [["build"], ["online", "start"]])
def test_a_home_that_cannot_be_written(featmill, tmp_path, command):
    """One line: its name and what the system says. A file where a folder should be stops root too."""
    (tmp_path / "file").touch()

    ended = featmill(*command, FEATMILL_HOME=str(tmp_path / "file" / "x"))

    assert ended.code == 1
    (line,) = ended.err.strip().splitlines()
    assert line.startswith(f"error: {tmp_path}/file/x")
    assert line.endswith(": Not a directory")


def test_a_table_that_is_not_published(featmill):
    ended = featmill("snapshots", "--table", "nope")

    assert ended.code == 2
    assert ended.out == ""
    assert "no feature table 'nope' is published" in ended.err
    assert "hint: published: dock__load, van__trips" in ended.err


def test_a_folder_that_is_no_project(depot, tmp_path):
    """In a process of its own, as a user starts it."""
    environment = {name: value for name, value in os.environ.items() if "FEATMILL" not in name}
    command = [sys.executable, "-m", "featmill.cli.main", "check", "--project-dir", str(tmp_path)]

    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=60
    )

    ended = judged(done.returncode, done.stdout, done.stderr)
    assert ended.code == 2
    assert f"{tmp_path} is no dbt project: it has no dbt_project.yml" in ended.err
    assert "hint: stand in the project's folder" in ended.err


def test_the_same_command_works_on_what_is_sound(depot, tmp_path, monkeypatch, capfd):
    """So that the refusals above are for the reason they give."""
    (tmp_path / "spine.csv").write_text(GOOD)
    arguments = ["train", str(tmp_path / "spine.csv"), "--features", FEATURE, "--zone", "UTC"]
    arguments += ["--time-column", "left_at", "--out", str(tmp_path / "o.parquet")]
    monkeypatch.setattr(sys, "argv", ["featmill", *arguments, "--project-dir", str(depot.root)])

    with depot.environment(), pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 0, capfd.readouterr().err
    with duckdb.connect() as connection:
        found = f"SELECT dock__load__parcels_24h FROM read_parquet('{tmp_path / 'o.parquet'}')"
        assert connection.execute(found).fetchall() == [(1,)]
