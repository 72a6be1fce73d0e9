"""The chain's steps as plain callables: the command line, the demo and the DAGs call these and nothing below them.

Each is idempotent: run again with the same data and definitions it changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.errors import AsOfError, BuildError, ContractError, GateFailed, NoRelease
from featmill.warehouse.registry import open_registry
from orchestration.dbt_process import BuildOutcome, DbtProcess, NodeResult, Progress

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog
    from featmill.settings import Settings
    from featmill.warehouse.model import Release

#: What dbt parses.
_PARSED = frozenset({".sql", ".yml", ".yaml", ".md"})
#: Where it looks for it, by the keys of dbt_project.yml, unless the project says otherwise.
_PATHS: Mapping[str, Sequence[str]] = {
    "analysis-paths": ["analyses"],
    "function-paths": ["functions"],
    "macro-paths": ["macros"],
    "model-paths": ["models"],
    "seed-paths": ["seeds"],
    "snapshot-paths": ["snapshots"],
    "test-paths": ["tests"],
}
#: Written by what reads the project: newer than the manifest for no reason. So is what a hidden folder holds.
_WRITTEN = frozenset({"target", "dbt_packages", "logs", "__pycache__"})


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
    folders = _declared_folders(settings.root)
    if folders is None:
        return False
    parsed_at = settings.manifest.stat().st_mtime
    named = [settings.root / name for name in ("dbt_project.yml", "packages.yml", "profiles.yml")]
    return all(
        path.stat().st_mtime < parsed_at
        for path in [*named, *_within(folders, settings.home_dir)]
        if path.exists()
    )


def _declared_folders(root: Path) -> list[Path] | None:
    """The folders that dbt parses; None where only dbt can tell, or say what is wrong."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        declared = YAML(typ="safe").load((root / "dbt_project.yml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError):
        return None
    if not isinstance(declared, dict):
        return None
    paths = {**_PATHS, **{k: v for k, v in declared.items() if str(k).endswith("-paths")}}
    listed = [path for of_kind in paths.values() for path in of_kind or []]
    # Jinja is dbt's to render, and a path that is no text dbt's to refuse.
    if not all(isinstance(path, str) and "{{" not in path for path in listed):
        return None
    return [root / path for path in listed]


def _within(folders: Sequence[Path], home: Path) -> Iterator[Path]:
    """What dbt parses in these folders, and the folders: from one that is newer a file may have been deleted."""
    for top in folders:
        for name, folders_in_it, files in os.walk(top, followlinks=True):
            folder = Path(name)
            folders_in_it[:] = [
                inner
                for inner in folders_in_it
                if not inner.startswith(".") and inner not in _WRITTEN and folder / inner != home
            ]
            yield folder
            yield from (folder / file for file in files if Path(file).suffix in _PARSED)


def build(
    settings: Settings, as_ofs: Sequence[str | None] = (None,), on_node: Progress | None = None
) -> list[BuildOutcome]:
    """Build, test and publish at each as_of with one dbt process.

    Raises:
        BuildError: a model could not be built; the tests that failed are told too. By themselves these are for `gate`.
    """
    outcomes = DbtProcess(settings).build(as_ofs, on_node)
    for outcome in outcomes:
        broken = [result for result in outcome.failures if not result.is_test]
        failed = [result for result in outcome.failures if result.is_test]
        if broken:
            lines = [told("could not be built", broken)]
            raise BuildError("\n".join([*lines, *([told("failed", failed)] if failed else [])]))
    index_events(settings)
    return outcomes


def index_events(settings: Settings) -> None:
    """Sort the events that released tables keep, where a table declares `index: true`; a build ends with it.

    Raises:
        LakeError: an event log cannot be read.
    """
    from featmill.contract.manifest import load
    from featmill.training.released_events import index_all_released_events

    try:
        catalog = load(settings.manifest, settings.root)
    except ContractError:
        return  # `featmill check` tells what is wrong; what was built stands, and nothing needs an index
    index_all_released_events(catalog, open_registry(settings.lake_dir))


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
                told("failed", failed),
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
    moment = moment_of(as_of)
    found = [release for release in registry.releases() if release.as_of == moment]
    if not found:
        raise NoRelease(
            f"nothing is released at {as_of}",
            hint="a release needs every publish node's tests to pass",
        )
    return found[-1]


def moment_of(text: str) -> datetime:
    """An as_of as a build takes it: a UTC day, or a moment with its zone (rule 1: without one it is none).

    Raises:
        AsOfError: it is neither.
    """
    expected = f"an as_of is a UTC day (2026-01-31) or a moment with its zone, got {text!r}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise AsOfError(expected) from error
    if moment.tzinfo is None and len(text) != len("2026-01-31"):
        raise AsOfError(expected)
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


def told(what: str, results: Sequence[NodeResult]) -> str:
    """Results as an error tells of them: how many, then one a line with what dbt said."""
    lines = [f"  {result.name}: {result.message.strip()}" for result in results]
    return "\n".join([f"{len(results)} {what}:", *lines])
