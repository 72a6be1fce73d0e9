"""Refusals that several routes have, with the headers that HTTP wants beside them."""

from __future__ import annotations

from featmill.errors import RequestRefused

Header = tuple[bytes, bytes]


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
