"""Structured logs: one JSON object a line, on standard error. No entity key and no value is ever in one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from featmill import clock

if TYPE_CHECKING:
    from typing import BinaryIO

    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger


class ServerLog:
    """Writes lines; one that cannot be written is told to `on_lost`, for no line is worth an answer."""

    def __init__(self, logger: FilteringBoundLogger, on_lost: Callable[[], object]) -> None:
        self._logger = logger
        self._on_lost = on_lost

    def say(self, level: str, event: str, **fields: object) -> None:
        """Write a line of a level, or, called "exception", of what is being handled."""
        try:
            getattr(self._logger, level)(event, **fields)
        except Exception:
            self._on_lost()


def request_log(stream: BinaryIO | None = None) -> FilteringBoundLogger:
    """A logger that writes lines of JSON."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.BytesLogger(stream or sys.stderr.buffer),
        processors=[_stamped, structlog.processors.JSONRenderer(orjson.dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    ).bind()
    return logger


def _stamped(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
    return {"time": clock.now(), "level": level, **event}


def of_uvicorn(stream_level: str = "WARNING") -> dict[str, Any]:
    """A logging configuration that lets uvicorn say what is wrong, as lines of JSON too."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "featmill.serving.http.request_log.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {
            name: {"handlers": ["stderr"], "level": stream_level, "propagate": False}
            for name in ("uvicorn", "opentelemetry")
        },
    }


class JsonFormatter(logging.Formatter):
    """A record of the standard library as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said: dict[str, object] = {
            "time": clock.now(),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info is not None:
            said["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(said).decode()
