"""Who may ask, and how often."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from featmill import clock
from featmill.errors import RequestRefused, SettingError
from featmill.serving.http.refusal import too_busy, unauthorized

if TYPE_CHECKING:
    from featmill.serving.api_keys import ApiKey, ApiKeys
    from featmill.serving.http.served_services import OfferedService

#: How long a change of the file of keys may go unnoticed, in seconds.
NOTICED_AFTER = 0.25


class Access:
    """The keys of a home and the requests that each may make; without keys everybody may do everything.

    `on_broken` hears of a file of keys that cannot be read; the keys known before go on to count.
    """

    def __init__(
        self,
        keys: ApiKeys | None,
        rate: int | None,
        on_broken: Callable[[SettingError], object] = lambda _: None,
    ) -> None:
        self._keys = keys
        self._on_broken = on_broken
        self._looked_at = -NOTICED_AFTER
        self._limit = None if rate is None else RateLimitItemPerSecond(rate)
        self._visible: dict[str, tuple[ApiKey, Mapping[str, OfferedService]]] = {}
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def admit(self, headers: Mapping[bytes, bytes]) -> ApiKey | None:
        """The key of a request that may go on; None where no keys are asked for.

        Raises:
            RequestRefused: 401 no key, or none that opens anything; 429 its requests of this second are used up.
        """
        key = None if self._keys is None else self._find(self._keys, headers)
        if self._limit is not None:
            name = "anybody" if key is None else key.key_id
            if not self._limiter.hit(self._limit, name):
                raise too_busy(429, f"more than {self._limit.amount:,} requests a second", 1)
        return key

    def recognised(self, headers: Mapping[bytes, bytes]) -> tuple[bool, ApiKey | None]:
        """Whether a request may know more than that the server lives, and its key; counts nothing."""
        if self._keys is None:
            return True, None
        try:
            return True, self._find(self._keys, headers)
        except RequestRefused:
            return False, None

    def visible(
        self, key: ApiKey | None, services: Mapping[str, OfferedService]
    ) -> Mapping[str, OfferedService]:
        """The services that a key opens; to it there are no others."""
        if key is None or key.scope.is_everything:
            return services
        known = self._visible.get(key.key_id)
        if known is None or known[0] is not key:
            opened = {
                name: service
                for name, service in services.items()
                if key.scope.excluded(name, service.views) is None
            }
            self._visible[key.key_id] = known = (key, opened)
        return known[1]

    def _find(self, keys: ApiKeys, headers: Mapping[bytes, bytes]) -> ApiKey:
        presented = _presented(headers)
        if presented is None:
            raise unauthorized("there is no API key in the request")
        self._refresh(keys)
        found = keys.find(presented, clock.now())
        if found is None:
            raise unauthorized("the API key is unknown, revoked or expired")
        return found

    def _refresh(self, keys: ApiKeys) -> None:
        now = time.monotonic()
        if now - self._looked_at < NOTICED_AFTER:
            return
        self._looked_at = now
        try:
            keys.refresh()
        except SettingError as error:
            self._on_broken(error)


def require_everything(key: ApiKey | None) -> None:
    """Let a key through to what tells of all services at once.

    Raises:
        RequestRefused: 403, the key opens a part only.
    """
    if key is not None and not key.scope.is_everything:
        raise RequestRefused(
            403,
            f"the key {key.name!r} opens a part only, and this is about everything",
            expected="a key without tenants, views or services",
        )


def _presented(headers: Mapping[bytes, bytes]) -> str | None:
    """The key in a request's headers: a bearer token, X-API-Key, or the password a browser asked for."""
    own = headers.get(b"x-api-key")
    if own is not None:
        return own.decode("latin-1")
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    kind = scheme.lower()
    if kind == b"bearer":
        return value.strip().decode("latin-1")
    if kind == b"basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2].decode("latin-1")
        except binascii.Error:
            return None
    return None
