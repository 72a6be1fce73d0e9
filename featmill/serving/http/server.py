"""Running the server: one process, or several workers on one socket."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.supervisors import Multiprocess

from featmill.contract.manifest import load
from featmill.errors import SettingError, UsageError
from featmill.online.connection import OnlineTarget
from featmill.online.server import EmbeddedServer
from featmill.serving.api_keys import ApiKeys, secret_of
from featmill.serving.async_reader import AsyncFeatureReader
from featmill.serving.http import options as serve_options
from featmill.serving.http import request_log, traces
from featmill.serving.http.access import Access
from featmill.serving.http.app import FeaturesApp
from featmill.serving.http.meters import FOLDER_VARIABLE, Meters
from featmill.serving.http.options import ServeOptions
from featmill.serving.http.readiness import StoreProbe
from featmill.serving.http.served_services import offered_services
from featmill.serving.http.server_parts import ServerParts
from featmill.serving.http.wire import FeaturesProtocol
from featmill.serving.served_log import ServedLog
from featmill.settings import Settings, load_settings

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog

_BACKLOG = 1_024
#: Longer than load balancers keep an idle connection, so that it is never the server who closes first.
_KEEP_ALIVE = 75
_FACTORY = "featmill.serving.http.server:worker_app"


def run(options: ServeOptions) -> None:
    """Serve until a signal ends it.

    Raises:
        SettingError: the address is taken or cannot be had, or without keys others could reach it.
        UsageError: the server did not start.
    """
    serve_options.check(options)
    if options.log_share > 0:
        # Before there are workers, so that what is wrong with it is said once.
        secret_of(load_settings(options.project_dir).served_secret)
    with _listening(options) as listening, _shared_metrics(options):
        os.environ[serve_options.VARIABLE] = options.model_dump_json()
        config = configuration(options)
        if options.workers == 1:
            _run_here(config, listening)
        else:
            Multiprocess(config, sockets=[listening]).run()


def _run_here(config: uvicorn.Config, listening: socket.socket) -> None:
    server = uvicorn.Server(config)
    # After a graceful end uvicorn raises the signal again, which would be the process's end before ours is done.
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        server.run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)
    if not server.started:
        raise UsageError("the server did not start", hint="its log says why")


def worker_app() -> FeaturesApp:
    """The application of one worker, by the options in its environment."""
    options = ServeOptions.model_validate_json(os.environ[serve_options.VARIABLE])
    app = features_app(options, load_settings(options.project_dir))
    # What was imported lives as long as the worker: no collection need look at it again.
    gc.freeze()
    # But for the last one: what it does not find when the interpreter ends, libraries report as leaked.
    atexit.register(gc.unfreeze)
    return app


def features_app(
    options: ServeOptions, settings: Settings, catalog: Catalog | None = None
) -> FeaturesApp:
    """The application over a project's catalogue and store; its parts are made when it starts."""

    async def parts() -> ServerParts:
        declared = catalog or load(settings.manifest, settings.root)
        target = online_target(settings)
        reader = await AsyncFeatureReader.open(declared, target)
        services = offered_services(declared, reader.plans)
        meters = Meters(services, reader.counts) if options.metrics else None
        lost = meters.line_lost if meters is not None else lambda: None
        log = request_log.ServerLog(request_log.request_log(), lost)
        keys = ApiKeys(settings.api_keys) if options.auth else None
        return ServerParts(
            options=options,
            project=declared.project,
            services=services,
            reader=reader,
            probe=StoreProbe(target, {plan.project for plan in reader.plans.values()}),
            access=Access(
                keys,
                options.rate_of_a_worker,
                lambda error: log.say("error", "keys", error=error.message),
            ),
            meters=meters,
            log=log,
            traces=traces.from_environment(),
            served=_served_log(options, settings, meters),
        )

    return FeaturesApp(parts)


def online_target(settings: Settings) -> OnlineTarget:
    """The store to read: the one that is set, or the embedded one."""
    if settings.redis_url is not None:
        return OnlineTarget.from_url(settings.redis_url)
    return EmbeddedServer(settings.online_dir).target


def _served_log(
    options: ServeOptions, settings: Settings, meters: Meters | None
) -> ServedLog | None:
    if options.log_share == 0:
        return None
    folder = settings.served_log
    secret = secret_of(settings.served_secret)
    if meters is None:
        return ServedLog(folder, secret, options.log_share)
    return ServedLog(folder, secret, options.log_share, meters.logged)


def configuration(options: ServeOptions, app: FeaturesApp | None = None) -> uvicorn.Config:
    """How uvicorn is run, whether each worker makes its application or one is given.

    Nothing may be wrapped around the application: what is not a `FeaturesApp` has no short way.
    """
    return uvicorn.Config(
        app or _FACTORY,
        factory=app is None,
        loop="uvloop",
        http=FeaturesProtocol,
        ws="none",
        lifespan="on",
        log_config=request_log.of_uvicorn(),
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=options.workers,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(round(options.shutdown_seconds), 1),
    )


@contextmanager
def _listening(options: ServeOptions) -> Iterator[socket.socket]:
    """The socket that all workers accept from; taken here, so that a taken port is an error and not a log line."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((options.host, options.port))
        except OSError as error:
            raise SettingError(
                f"{options.host}:{options.port} cannot be listened on: {error.strerror or error}",
                hint="another server may have it; choose another --port",
            ) from error
        listening.listen(_BACKLOG)
        listening.set_inheritable(True)
        yield listening


@contextmanager
def _shared_metrics(options: ServeOptions) -> Iterator[None]:
    """A folder in which several workers keep their numbers, so that each can tell the sum."""
    if options.workers == 1 or not options.metrics:
        yield
        return
    folder = tempfile.mkdtemp(prefix="featmill-metrics-")
    os.environ[FOLDER_VARIABLE] = folder
    try:
        yield
    finally:
        del os.environ[FOLDER_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)
