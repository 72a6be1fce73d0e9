"""Writing the Feast repositories of a tenant: `definitions.py`, what it reads, and `feature_store.yaml`.

Each file is written beside itself and renamed, so no reader sees half of one. Neither repository holds data: rows come
from the lake and from the online store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from exporters.feast.declarations import Declarations, declare
from exporters.feast.render import (
    TABLES_FILE,
    render_definitions,
    render_settings,
    render_tables,
)
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
    """A tenant, and the project name in the keys of the rows that serve; None is the tenant's own.

    Feast's own store follows no pointer: where generations serve, the name it must ask for changes with each promotion.
    """

    tenant: str = "default"
    name: str | None = None


def repository_folder(
    settings: Settings, tenant: str = "default", *, is_stock: bool = False
) -> Path:
    """A tenant's Feast repository. Not one below another: Feast runs every Python file it finds.

    `is_stock` is the one for a Feast without our plug-ins.
    """
    folder = settings.feast_repository
    name = f"{folder.name}-stock" if is_stock else folder.name
    return folder.with_name(name if tenant == "default" else f"{name}_{tenant}")


def write_repository(
    settings: Settings,
    catalog: Catalog,
    released: Mapping[str, Sequence[Snapshot]],
    online_store: Mapping[str, Any],
    *,
    place: FeastProject = FeastProject(),
) -> tuple[Path, Path]:
    """Write one tenant's two Feast repositories: with our plug-ins, and for a Feast that knows nothing of featmill.

    `released` holds each table's released snapshots, as `Registry.released_snapshots` gives them; `online_store` is the
    online store as `OnlineTarget.feast_online_config` gives it.

    Raises:
        ContractError: the contract declares what Feast cannot express.
        SettingError: a folder cannot be written.
    """
    declarations = declare(catalog, released, place.tenant)
    # Our store follows the pointer; Feast's own reads the rows under the name they have now.
    as_rows = replace(declarations, project=place.name or declarations.project)
    folders = (
        repository_folder(settings, place.tenant),
        repository_folder(settings, place.tenant, is_stock=True),
    )
    for folder, declared in zip(folders, (declarations, as_rows), strict=True):
        _write_folder(folder, declared, online_store, is_stock=folder == folders[1])
    return folders


def _write_folder(
    folder: Path, declarations: Declarations, online_store: Mapping[str, Any], *, is_stock: bool
) -> None:
    """The files of one repository: first what the definitions read."""
    secret = "password" in str(online_store["connection_string"])
    with locked(folder):
        if not is_stock:
            _write(folder / TABLES_FILE, render_tables(declarations))
        _write(folder / DEFINITIONS_FILE, render_definitions(declarations, is_stock=is_stock))
        text = render_settings(declarations.project, online_store, is_stock=is_stock)
        _write(folder / SETTINGS_FILE, text, mode=_OWNER_ONLY if secret else _EVERYONE)


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
