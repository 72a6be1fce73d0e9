"""`featmill online start|stop|status`: the online store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir
from featmill.errors import UsageError

if TYPE_CHECKING:
    from featmill.online.server import EmbeddedServer
    from featmill.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    online = typer.Typer(
        help="The embedded online store: a Valkey that featmill keeps between commands."
    )
    online.command()(start)
    online.command()(stop)
    online.command()(status)
    app.add_typer(online, name="online")


def start(project_dir: ProjectDir = None) -> None:
    """Start the embedded server, or adopt the one that runs."""
    server = _server(_settings(project_dir))
    server.start()
    _show(server)


def stop(project_dir: ProjectDir = None) -> None:
    """Stop the embedded server; its data stays on disk."""
    stopped = _server(_settings(project_dir)).stop()
    console.out.print("stopped" if stopped else "it was not running")


def status(project_dir: ProjectDir = None) -> None:
    """Show whether it runs, where and what it holds; [bold]featmill live[/] shows what it serves."""
    _show(_server(_settings(project_dir)))


def _settings(project_dir: ProjectDir) -> Settings:
    from featmill.settings import load_settings

    return load_settings(project_dir)


def _server(settings: Settings) -> EmbeddedServer:
    from featmill.online.server import EmbeddedServer

    if settings.redis_url is not None:
        raise UsageError(
            "FEATMILL_REDIS_URL names a server of yours", hint="unset it to use the embedded one"
        )
    return EmbeddedServer(settings.online_dir)


def _show(server: EmbeddedServer) -> None:
    found = server.status()
    table = Table(show_header=False, title="Online store", title_justify="left")
    table.add_row("state", "running" if found.running else "stopped")
    table.add_row("socket", str(found.socket))
    if found.running:
        table.add_row("pid", str(found.pid))
        table.add_row("version", str(found.version))
        table.add_row("keys", f"{found.keys or 0:,}")
        table.add_row("memory", f"{(found.memory_bytes or 0) / 1e6:,.1f} MB")
        table.add_row("up for", f"{found.uptime_seconds or 0:,} s")
    console.out.print(table)
