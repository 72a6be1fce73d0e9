"""Reading features online: a service compiled once, one round trip, an answer that says how fresh it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from featmill.contract.catalog import Catalog
    from featmill.online.connection import OnlineTarget
    from featmill.serving.async_reader import AsyncFeatureReader
    from featmill.serving.reader import FeatureReader

__all__ = ["open_async_reader", "open_reader"]


def open_reader(
    project_dir: Path | str | None = None, services: Sequence[str] | None = None
) -> FeatureReader:
    """A reader of a project's services, from its manifest and its store as the settings have them.

    dbt is not needed: the manifest is read as it was written. The store may be down.

    Args:
        project_dir: the dbt project; None means `FEATMILL_PROJECT_DIR`, else the current folder.
        services: which to compile; all whose tables are online if None.

    Raises:
        ContractError: there is no manifest, or it declares what cannot be served.
        UsageError: a service is not there, spans tenants or reads a table that is not online.
        SettingError: a setting is wrong.
    """
    from featmill.serving.reader import FeatureReader

    return FeatureReader.open(*_project(project_dir), services)


async def open_async_reader(
    project_dir: Path | str | None = None, services: Sequence[str] | None = None
) -> AsyncFeatureReader:
    """As `open_reader`, for one event loop."""
    from featmill.serving.async_reader import AsyncFeatureReader

    return await AsyncFeatureReader.open(*_project(project_dir), services)


def _project(project_dir: Path | str | None) -> tuple[Catalog, OnlineTarget]:
    from pathlib import Path

    from featmill.contract.manifest import load
    from featmill.online.server import online_target
    from featmill.settings import load_settings

    settings = load_settings(None if project_dir is None else Path(project_dir))
    return load(settings.manifest, settings.root), online_target(settings)
