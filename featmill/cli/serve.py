"""`featmill serve`: the features of every service over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from featmill.cli import console
from featmill.cli.console import ProjectDir

if TYPE_CHECKING:
    from featmill.serving.http.options import ServeOptions
    from featmill.settings import Settings


Auth = Annotated[bool, typer.Option(help="Ask for API keys; without, only loopback is served.")]
AsOf = Annotated[
    str | None,
    typer.Option(help="Stop the clock at this moment, for demos with old data.", metavar="MOMENT"),
]
Rate = Annotated[int | None, typer.Option(help="Requests a second that each key may make.", min=1)]
Concurrency = Annotated[
    int, typer.Option(help="Requests answered at once by a worker; more are refused with 503.")
]
Drain = Annotated[
    float, typer.Option(help="Seconds of not being ready before the server stops listening.")
]
LogShare = Annotated[
    float, typer.Option(help="The share of the answers that the served log keeps, 0 to 1.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8815,
    workers: Annotated[int, typer.Option(help="Processes that share the port.")] = 1,
    auth: Auth = True,
    as_of: AsOf = None,
    rate: Rate = None,
    entities: Annotated[int, typer.Option(help="Entities in one request, at most.")] = 1_000,
    body_bytes: Annotated[int, typer.Option(help="Bytes of a request's body, at most.")] = 2 << 20,
    concurrency: Concurrency = 256,
    drain: Drain = 0.0,
    log_share: LogShare = 0.0,
    access_log: Annotated[bool, typer.Option(help="Log every request, as a line of JSON.")] = True,
    metrics: Annotated[bool, typer.Option(help="Count for Prometheus, at /metrics.")] = True,
    project_dir: ProjectDir = None,
) -> None:
    """Serve features over HTTP. It starts also where the store is down, and says at /readyz that it is not ready.

    Every request needs an API key (`featmill keys create`), except for /healthz and /readyz.
    """
    from featmill.settings import load_settings

    settings = load_settings(project_dir)
    options = _options(
        project_dir=settings.root,
        host=host,
        port=port,
        workers=workers,
        auth=auth,
        as_of=None if as_of is None else console.moment(as_of, option="--as-of"),
        rate=rate,
        entities=entities,
        body_bytes=body_bytes,
        concurrency=concurrency,
        drain_seconds=drain,
        log_share=log_share,
        access_log=access_log,
        metrics=metrics,
    )
    _run(settings, options)


def _options(**given: Any) -> ServeOptions:  # noqa: ANN401 - pydantic checks each
    """The options, checked; an error names the option as it is written."""
    from pydantic import ValidationError

    from featmill.errors import UsageError

    _require_libraries()
    from featmill.serving.http.options import ServeOptions

    try:
        return ServeOptions(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).removesuffix("_seconds").replace("_", "-")
        raise UsageError(f"--{name}: {first['msg']}, got {first['input']!r}") from error


def _run(settings: Settings, options: ServeOptions) -> None:
    from featmill.serving.http import options as serve_options
    from featmill.serving.http import server
    from orchestration import tasks

    serve_options.check(options)
    catalog = tasks.load_catalog(settings)
    _require_services(catalog.services)
    if settings.redis_url is None:
        from featmill.online.server import EmbeddedServer

        EmbeddedServer(settings.online_dir).start()
    _tell(settings, options)
    server.run(options)


def _tell(settings: Settings, options: ServeOptions) -> None:
    from featmill import clock
    from featmill.serving import api_keys

    host = f"[{options.host}]" if ":" in options.host else options.host
    console.err.print(f"http://{host}:{options.port}", highlight=False)
    now = clock.now()
    if options.auth and not any(key.is_live(now) for key in api_keys.read(settings.api_keys)):
        console.err.print(
            "warning: there is no live API key, so every request is refused; make one: "
            "featmill keys create --name NAME",
            highlight=False,
        )


def _require_services(services: object) -> None:
    from featmill.errors import UsageError

    if not services:
        raise UsageError(
            "the project declares no feature service", hint="declare an exposure of `type: ml`"
        )


def _require_libraries() -> None:
    from importlib.util import find_spec

    from featmill.errors import UsageError

    missing = [name for name in ("uvicorn", "starlette", "orjson") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"featmill serve needs {', '.join(missing)}", hint="pip install 'featmill[serve]'"
        )
