"""A request that is refused: the status, the field that is wrong and what was expected there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

Header = tuple[bytes, bytes]


class RequestRefused(RequestError):
    """An HTTP request that is answered with 4xx or 503; `hint` is what was expected."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str = "",
        expected: str = "",
        headers: Sequence[Header] = (),
    ) -> None:
        super().__init__(message, field=field, hint=expected)
        self.status = status
        self.headers = tuple(headers)


def unauthorized(message: str) -> RequestRefused:
    """401: no key, or none that opens anything."""
    return RequestRefused(
        401,
        message,
        field="header.authorization",
        expected="Authorization: Bearer <key>, or X-API-Key: <key>",
        headers=[(b"www-authenticate", b'Bearer realm="featmill", Basic realm="featmill"')],
    )


def too_busy(status: int, message: str, seconds: int) -> RequestRefused:
    """429 or 503: not now, but in some seconds."""
    return RequestRefused(
        status,
        message,
        expected=f"another try in {seconds} s",
        headers=[(b"retry-after", b"%d" % seconds)],
    )
