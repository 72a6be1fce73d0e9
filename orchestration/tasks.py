"""The chain's steps as plain callables: the command line, the demo and the DAGs call these and nothing below them.

Each is idempotent: run again with the same data and definitions it changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from featmill.errors import AsOfError, BuildError, GateFailed, NoRelease
from featmill.warehouse.registry import open_registry
from orchestration.dbt_process import BuildOutcome, DbtProcess, Progress

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog
    from featmill.settings import Settings
    from featmill.warehouse.model import Release

#: What dbt parses.
_PARSED = frozenset({".sql", ".yml", ".yaml", ".md"})


def load_catalog(settings: Settings) -> Catalog:
    """The project's contract; the project is parsed first where a file is newer than its manifest.

    Raises:
        BuildError: dbt could not parse the project.
        ContractError: the declarations have mistakes; the message lists them all.
    """
    from featmill.contract.manifest import load

    ensure_parsed(settings)
    return load(settings.manifest, settings.root)


def ensure_parsed(settings: Settings) -> None:
    """Parse the project where a file of it is newer than its manifest.

    Raises:
        BuildError: dbt could not parse it; the message is dbt's, with file and line.
    """
    if not _is_fresh(settings):
        DbtProcess(settings).parse()


def _is_fresh(settings: Settings) -> bool:
    if not settings.manifest.is_file():
        return False
    parsed_at = settings.manifest.stat().st_mtime
    named = [settings.root / name for name in ("dbt_project.yml", "packages.yml", "profiles.yml")]
    folders = ("models", "macros", "seeds", "snapshots", "tests")
    within = (
        path
        for folder in folders
        for path in (settings.root / folder).rglob("*")
        if path.suffix in _PARSED
    )
    return all(path.stat().st_mtime < parsed_at for path in [*named, *within] if path.is_file())


def build(
    settings: Settings, as_ofs: Sequence[str | None] = (None,), on_node: Progress | None = None
) -> list[BuildOutcome]:
    """Build, test and publish at each as_of with one dbt process.

    Raises:
        BuildError: a model could not be built. Tests that failed are for `gate` to judge.
    """
    outcomes = DbtProcess(settings).build(as_ofs, on_node)
    for outcome in outcomes:
        broken = [result for result in outcome.failures if not result.is_test]
        if broken and not any(result.is_test for result in outcome.failures):
            raise BuildError(
                _told("could not be built", [f"{r.name}: {r.message.strip()}" for r in broken])
            )
    return outcomes


def gate(outcomes: Sequence[BuildOutcome]) -> int:
    """Judge the tests of a build; the number that passed.

    Raises:
        GateFailed: a test failed; its table and what descends from it were not published and there is no release.
    """
    passed = 0
    for outcome in outcomes:
        failed = [result for result in outcome.results if result.is_test and result.failed]
        if failed:
            raise GateFailed(
                _told("failed", [f"{r.name}: {r.message.strip()}" for r in failed]),
                hint="nothing of these tables was published and no release was made; the previous release serves on",
            )
        passed += sum(1 for result in outcome.results if result.is_test)
    return passed


def released(settings: Settings, as_of: str | None = None) -> Release:
    """The release of an as_of (`YYYY-MM-DD` or a moment with its zone), or the newest one.

    Raises:
        AsOfError: the as_of is neither.
        NoRelease: there is none.
    """
    registry = open_registry(settings.lake_dir)
    if as_of is None:
        return registry.newest()
    moment = _moment(as_of)
    found = [release for release in registry.releases() if release.as_of == moment]
    if not found:
        raise NoRelease(
            f"nothing is released at {as_of}",
            hint="a release needs every publish node's tests to pass",
        )
    return found[-1]


def _moment(text: str) -> datetime:
    """An as_of as a build takes it (rule 1: a moment without its zone is none)."""
    expected = f"an as_of is a UTC day (2026-01-31) or a moment with its zone, got {text!r}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise AsOfError(expected) from error
    if moment.tzinfo is None and len(text) != len("2026-01-31"):
        raise AsOfError(expected)
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


def _told(what: str, lines: Sequence[str]) -> str:
    return f"{len(lines)} {what}:\n" + "\n".join(f"  {line}" for line in lines)
