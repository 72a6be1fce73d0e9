"""`featmill keys create|list|revoke`: who may ask `featmill serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from featmill.serving.api_keys import ApiKey, Scope


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="The API keys of `featmill serve`.", no_args_is_help=True)
    keys.command()(create)
    keys.command("list")(list_keys)
    keys.command()(revoke)
    app.add_typer(keys, name="keys")


def create(
    name: Annotated[str, typer.Option(help="What the key is called; logs and metrics say it.")],
    tenant: Annotated[
        list[str] | None, typer.Option(help="Opens only this tenant's views. Repeat it.")
    ] = None,
    view: Annotated[
        list[str] | None, typer.Option(help="Opens only services of these views. Repeat it.")
    ] = None,
    service: Annotated[
        list[str] | None, typer.Option(help="Opens only this service. Repeat it.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long it lives, such as 90d.", show_default="for ever")
    ] = None,
    project_dir: ProjectDir = None,
) -> None:
    """Make a key and print it, once: only its hash is kept."""
    from featmill.contract.declarations import parse_duration
    from featmill.serving import api_keys

    scope = api_keys.Scope(
        tenants=frozenset(tenant or ()),
        views=frozenset(view or ()),
        services=frozenset(service or ()),
    )
    lifetime = None if expires is None else parse_duration(expires)
    path = _path(project_dir)
    _warn_of_unknown(scope, project_dir)
    stored, presented = api_keys.create(path, name, scope, lifetime)
    console.err.print(
        f"key {stored.key_id} ({name}) opens {_opens(scope)}; it is shown this once:",
        highlight=False,
    )
    console.out.print(presented, highlight=False, soft_wrap=True)


def list_keys(project_dir: ProjectDir = None) -> None:
    """List the keys: who, what they open, until when."""
    from featmill import clock
    from featmill.serving import api_keys

    found = api_keys.read(_path(project_dir))
    if not found:
        console.out.print("there is no key; make one: featmill keys create --name NAME")
        return
    table = Table(title="API keys", title_justify="left")
    for heading in ("id", "name", "opens", "created", "expires", "state"):
        table.add_column(heading)
    now = clock.now()
    for key in found:
        expires = "never" if key.expires_at is None else _moment(key.expires_at)
        row = (key.key_id, key.name, _opens(key.scope), _moment(key.created_at), expires)
        table.add_row(*row, _state(key, now))
    console.out.print(table)


def revoke(
    key: Annotated[str, typer.Argument(help="The key's id or its name.")],
    project_dir: ProjectDir = None,
) -> None:
    """Revoke a key. Servers that run notice within a second."""
    from featmill.serving import api_keys

    revoked = api_keys.revoke(_path(project_dir), key)
    console.out.print(f"revoked {revoked.key_id} ({revoked.name})", highlight=False)


def _path(project_dir: Path | None) -> Path:
    from featmill.settings import load_settings

    return load_settings(project_dir).api_keys


def _warn_of_unknown(scope: Scope, project_dir: Path | None) -> None:
    """A misspelt scope opens nothing, which is safe and baffling: say so."""
    from featmill.contract.manifest import load
    from featmill.errors import FeatmillError
    from featmill.settings import load_settings

    settings = load_settings(project_dir)
    if scope.is_everything or not settings.manifest.is_file():
        return
    try:
        catalog = load(settings.manifest, settings.root)
    except FeatmillError:
        return
    known = {
        "tenant": {table.tenant for table in catalog.tables},
        "view": {table.name for table in catalog.tables},
        "service": {service.name for service in catalog.services},
    }
    asked = {"tenant": scope.tenants, "view": scope.views, "service": scope.services}
    for kind, names in asked.items():
        for name in sorted(names - known[kind]):
            there = ", ".join(sorted(known[kind])) or "none"
            console.err.print(f"warning: no {kind} {name!r} is declared; there is: {there}")


def _opens(scope: Scope) -> str:
    parts = [("tenant", scope.tenants), ("view", scope.views), ("service", scope.services)]
    said = [f"{kind} {', '.join(sorted(names))}" for kind, names in parts if names]
    return "; ".join(said) or "everything"


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return f"revoked {_moment(key.revoked_at)}"
    return "live" if key.is_live(now) else "expired"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
