"""Writing the Feast repository: links to the data, `definitions.py` and `feature_store.yaml`.

The order keeps a reader whole at every moment: first the data, then what describes it. Each file is
written beside itself and renamed, so no reader sees half of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from exporters.feast.declarations import declare
from exporters.feast.render import render_definitions, render_settings
from exporters.feast.snapshot_links import SnapshotLinks
from featmill.errors import SettingError
from featmill.settings import Settings

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog
    from featmill.warehouse.model import Snapshot

DEFINITIONS_FILE = "definitions.py"
SETTINGS_FILE = "feature_store.yaml"
#: Writing takes seconds; who waits longer waits for something that hangs.
_LOCK_LIMIT = 120.0
#: Before the umask. The settings may hold the online store's password.
_EVERYONE, _OWNER_ONLY = 0o666, 0o600


@dataclass(frozen=True, slots=True)
class FeastProject:
    """A tenant, and the project name that Feast shall read it under: that in the keys of the rows that serve.

    Feast follows no pointer: where generations serve, the name changes with each promotion. None is the tenant's own.
    """

    tenant: str = "default"
    name: str | None = None


def repository_folder(settings: Settings, tenant: str = "default") -> Path:
    """A tenant's Feast repository. Not one below another: Feast runs every Python file it finds."""
    folder = settings.feast_repository
    return folder if tenant == "default" else folder.with_name(f"{folder.name}_{tenant}")


def write_repository(
    settings: Settings,
    catalog: Catalog,
    released: Mapping[str, Sequence[Snapshot]],
    connection_string: str,
    *,
    place: FeastProject = FeastProject(),
) -> Path:
    """Write one tenant's Feast repository and return its folder.

    `released` holds each table's released snapshots, as `Registry.released_snapshots` gives them;
    `connection_string` is the online store as `OnlineTarget.feast_connection_string` gives it.

    Raises:
        ContractError: the contract declares what Feast cannot express.
        LakeError: a released snapshot cannot be read, or its links cannot be written.
        SettingError: the folder cannot be written.
    """
    declarations = declare(catalog, released, place.tenant)
    if place.name is not None:
        declarations = replace(declarations, project=place.name)
    folder = repository_folder(settings, place.tenant)
    with locked(folder):
        links = SnapshotLinks(folder)
        for view in declarations.views:
            links.publish(view.table, released.get(view.table.name, ()))
        _write(folder / DEFINITIONS_FILE, render_definitions(declarations))
        text = render_settings(declarations.project, connection_string)
        _write(
            folder / SETTINGS_FILE,
            text,
            mode=_OWNER_ONLY if "password=" in connection_string else _EVERYONE,
        )
        links.keep_only(view.table.name for view in declarations.views)
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the repository: two exports, or an export and an apply, take turns.

    Raises:
        SettingError: the folder cannot be written, or another process keeps it.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=_LOCK_LIMIT)
        lock.acquire()
    except Timeout as error:
        raise SettingError(
            f"another process has been writing {folder} for {_LOCK_LIMIT:g} s",
            hint="wait for it to end, or end it",
        ) from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _write(path: Path, text: str, *, mode: int = _EVERYONE) -> None:
    beside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        beside.touch(mode=mode)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> SettingError:
    return SettingError(
        f"{path} cannot be written: {error}", hint="set FEATMILL_HOME to a folder that can"
    )
