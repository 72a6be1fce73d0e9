"""How a server is run, in a form that its workers can be handed: each is a process of its own."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from featmill.errors import SettingError

#: The variable in which a worker finds the options.
VARIABLE = "FEATMILL_SERVE_OPTIONS"

_MIB = 1 << 20


class ServeOptions(BaseModel):
    """What `featmill serve` was told.

    `rate` is in requests per second and key, None for no limit; of several workers each allows its part of it. `as_of`
    stops the clock that decides what is expired. Told to end, the server says for `drain_seconds` that it is not ready
    and goes on to answer, then has `shutdown_seconds` to finish what it began. `log_share` is the part of the
    requests that the served log keeps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    project_dir: Path
    host: str = "127.0.0.1"
    port: int = Field(default=8815, ge=0, le=65_535)
    workers: int = Field(default=1, ge=1, le=256)
    auth: bool = True
    metrics: bool = True
    access_log: bool = True
    as_of: datetime | None = None
    rate: int | None = Field(default=None, ge=1)
    entities: int = Field(default=1_000, ge=1)
    body_bytes: int = Field(default=2 * _MIB, ge=1)
    concurrency: int = Field(default=256, ge=1)
    body_seconds: float = Field(default=5.0, gt=0)
    drain_seconds: float = Field(default=0.0, ge=0)
    shutdown_seconds: float = Field(default=10.0, gt=0)
    log_share: float = Field(default=0.0, ge=0, le=1)

    @property
    def rate_of_a_worker(self) -> int | None:
        """The requests per second and key that one worker allows."""
        return None if self.rate is None else -(-self.rate // self.workers)


def check(options: ServeOptions) -> None:
    """Refuse what would serve everybody without asking who they are.

    Raises:
        SettingError: without keys the server would be reachable from another machine.
    """
    if options.auth or _is_loopback(options.host):
        return
    raise SettingError(
        f"--no-auth on {options.host}: everybody who reaches this address could read every feature",
        hint="without keys only a loopback address is served: --host 127.0.0.1",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
