"""API keys: who may ask for what.

A key is `fm_<id>_<secret>`. The secret is 256 random bits, so its SHA-256 needs neither salt nor stretching: there is
nothing to guess from. The file keeps the id, by which a key is found, and the hash, which is compared in constant time.
It is replaced in one step and readable by its owner alone; a server that uses it looks at its time, so what is created
or revoked counts without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from featmill import clock
from featmill.errors import SettingError, UsageError

if TYPE_CHECKING:
    from datetime import timedelta

_MARK = "fm"
_ID_BYTES = 4
_SECRET_BYTES = 32


class Scope(BaseModel):
    """What a key opens: these tenants, views and services; an empty part excludes nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenants: frozenset[str] = frozenset()
    views: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()

    @property
    def is_everything(self) -> bool:
        """Whether nothing is excluded."""
        return not (self.tenants or self.views or self.services)

    def excluded(self, service: str, views: Mapping[str, str]) -> str | None:
        """What of a service this does not open, None where all is; `views` are its views and their tenants."""
        if self.services and service not in self.services:
            return f"service {service}"
        for view, tenant in views.items():
            if self.tenants and tenant not in self.tenants:
                return f"tenant {tenant}"
            if self.views and view not in self.views:
                return f"view {view}"
        return None


class ApiKey(BaseModel):
    """One key as it is stored; `digest` is the SHA-256 of the whole key, in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: str
    name: str
    digest: str
    scope: Scope = Scope()
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_live(self, at: datetime) -> bool:
        """Whether it opens anything at a moment."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: tuple[ApiKey, ...] = ()


class ApiKeys:
    """The keys of one featmill home, read again whenever their file changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._by_id: dict[str, ApiKey] = {}

    def refresh(self) -> bool:
        """Read the file if it is another than the last time; whether it was.

        Raises:
            SettingError: it cannot be read; the keys known so far go on to count.
        """
        seen = _identity(self._path)
        if seen == self._seen:
            return False
        self._by_id = {key.key_id: key for key in read(self._path)}
        self._seen = seen
        return True

    def find(self, presented: str, at: datetime) -> ApiKey | None:
        """The live key that was presented, None where there is none such."""
        parts = presented.split("_", 2)
        found = self._by_id.get(parts[1]) if len(parts) == 3 else None
        # Hashed and compared also where no such id is known: the time says nothing about which ids exist.
        digest = "" if found is None else found.digest
        is_same = hmac.compare_digest(_digest(presented), digest)
        return found if found is not None and is_same and found.is_live(at) else None


def create(
    path: Path, name: str, scope: Scope | None = None, expires_in: timedelta | None = None
) -> tuple[ApiKey, str]:
    """Make a key; what is stored, and the key itself, which is stored nowhere.

    Raises:
        UsageError: a live key has that name.
        SettingError: the file cannot be read.
    """
    now = clock.now()
    with _changing(path) as keys:
        if any(key.name == name and key.is_live(now) for key in keys):
            raise UsageError(
                f"there is a key called {name!r}", hint="revoke it first, or take another name"
            )
        key_id = _new_id({key.key_id for key in keys})
        presented = f"{_MARK}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        stored = ApiKey(
            key_id=key_id,
            name=name,
            digest=_digest(presented),
            scope=scope or Scope(),
            created_at=now,
            expires_at=None if expires_in is None else now + expires_in,
        )
        keys.append(stored)
    return stored, presented


def revoke(path: Path, wanted: str) -> ApiKey:
    """Revoke the live key with this id or name; it stays in the list, and never opens anything again.

    Raises:
        UsageError: there is none.
        SettingError: the file cannot be read.
    """
    now = clock.now()
    with _changing(path) as keys:
        for place, key in enumerate(keys):
            if wanted in (key.key_id, key.name) and key.revoked_at is None:
                keys[place] = key.model_copy(update={"revoked_at": now})
                return keys[place]
        raise UsageError(f"there is no live key {wanted!r}", hint="featmill keys list")


def read(path: Path) -> tuple[ApiKey, ...]:
    """All keys, revoked and expired ones too; none where there is no file.

    Raises:
        SettingError: the file cannot be read, or others than its owner can.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"the API keys in {path} cannot be read: {error}") from error
    if mode & 0o077:
        raise SettingError(
            f"others than its owner may open {path}, where the API keys are",
            hint=f"chmod 600 {path}",
        )
    try:
        return _File.model_validate_json(text).keys
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingError(
            f"the API keys in {path} cannot be read: {where}: {first['msg']}",
            hint="move the file away and create the keys anew",
        ) from error


def secret_of(path: Path) -> bytes:
    """The 256 random bits in a file that only its owner can read; made where there is none.

    Raises:
        SettingError: the file holds something else, or others than its owner can read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _make_secret(path)
    with path.open(encoding="ascii", errors="replace") as file:
        mode, text = os.fstat(file.fileno()).st_mode, file.read(4 * _SECRET_BYTES)
    if mode & 0o077:
        raise SettingError(
            f"others than its owner may open {path}, which is a secret", hint=f"chmod 600 {path}"
        )
    if not re.fullmatch(f"[0-9a-f]{{{2 * _SECRET_BYTES}}}", text):
        raise SettingError(
            f"{path} holds no secret: {2 * _SECRET_BYTES} hexadecimal digits were expected",
            hint="restore it; a new one, made if it is moved away, finds nothing that was logged before",
        )
    return bytes.fromhex(text)


def _make_secret(path: Path) -> None:
    """Make a secret that is there as a whole or not at all; where several are at it, the first one's is it."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES).hex())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _changing(path: Path) -> Iterator[list[ApiKey]]:
    """The keys to change; written when the block ends well, by one process at a time."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        keys = list(read(path))
        yield keys
        beside = path.with_suffix(".new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(_File(keys=tuple(keys)).model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)


def _new_id(taken: set[str]) -> str:
    while (found := secrets.token_hex(_ID_BYTES)) in taken:
        continue
    return found


def _digest(presented: str) -> str:
    return hashlib.sha256(presented.encode()).hexdigest()


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingError(f"the API keys in {path} cannot be read: {error}") from error
    # A replaced file is another inode, even where the clock did not move between two changes.
    return found.st_ino, found.st_mtime_ns, found.st_size
