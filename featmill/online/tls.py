"""TLS to the store: the options of a URL, and which side distrusts what when it fails."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from featmill.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from featmill.online.connection import OnlineTarget

#: Options of a URL that both our socket and redis-py understand.
TLS_OPTIONS = (
    "ssl_cert_reqs",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_check_hostname",
)

#: What is left of a refusal that arrived after the connection's end.
_CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError, BrokenPipeError)

_MODES = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

#: OpenSSL's verify codes: the certificate is for another host name, or another address.
_NAME_CODES = (62, 64)


def client_tls(options: Mapping[str, str]) -> dict[str, Any]:
    """The options as redis-py wants them."""
    checks = options.get("ssl_check_hostname", "true").lower() not in ("0", "false", "no")
    without_checks = options.get("ssl_cert_reqs") in ("none", "optional")
    return {**options, "ssl_check_hostname": checks and not without_checks}


def tls_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """A client's context.

    Raises:
        SettingError: an option has a value that is not known, or a file cannot be read.
    """
    wanted = options.get("ssl_cert_reqs", "required")
    if wanted not in _MODES:
        raise SettingError(f"ssl_cert_reqs is {wanted!r}", hint=f"one of: {', '.join(_MODES)}")
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    except OSError as error:
        files = [f"{k} {v}" for k, v in options.items() if k not in ("ssl_cert_reqs",)]
        raise SettingError(
            f"a TLS file of the store's URL cannot be read ({', '.join(files)}): {error}",
            hint="ssl_ca_certs, ssl_certfile and ssl_keyfile are PEM files",
        ) from error
    context.check_hostname = client_tls(options)["ssl_check_hostname"]
    context.verify_mode = _MODES[wanted]
    return context


def tls_problem(target: OnlineTarget, error: BaseException) -> tuple[str, str] | None:
    """What of TLS failed, and what to do; None if it was not TLS.

    In TLS 1.3 a client learns only after the handshake, from the first bytes it reads, that the server wanted a
    certificate; where the server closes faster than it says so, all there is is a connection that breaks.
    """
    if not target.tls:
        return None
    has_certificate = "ssl_certfile" in dict(target.tls_options)
    for found in _chain(error):
        if isinstance(found, ssl.SSLCertVerificationError):
            return _unverified(found)
        if isinstance(found, _CLOSED):
            fault = "does not trust the client's" if has_certificate else "wants a client"
            return (
                f"the TLS connection was closed, as where the server {fault} certificate: {found}",
                "ssl_certfile and ssl_keyfile in the URL name one that the server's authority signed",
            )
        if isinstance(found, ssl.SSLError):
            return _alert(found, has_certificate=has_certificate)
    return None


def _unverified(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    if error.verify_code in _NAME_CODES:
        return (
            f"the server's certificate is not for its host name: {error.verify_message}",
            "use a name that the certificate has, or ssl_check_hostname=false in the URL",
        )
    return (
        f"certificate verify failed: the server's certificate is not trusted: {error.verify_message}",
        "ssl_ca_certs=<file> in the URL names the authority that signed it",
    )


def _alert(error: ssl.SSLError, *, has_certificate: bool) -> tuple[str, str]:
    reason = (error.reason or str(error)).upper().replace(" ", "_")
    if "CERTIFICATE_REQUIRED" in reason or ("HANDSHAKE_FAILURE" in reason and not has_certificate):
        return (
            f"the server wants a client certificate: {reason}",
            "ssl_certfile and ssl_keyfile in the URL name one",
        )
    if "UNKNOWN_CA" in reason or "BAD_CERTIFICATE" in reason or "CERTIFICATE_UNKNOWN" in reason:
        return (
            f"the server does not trust the client's certificate: {reason}",
            "ssl_certfile must be signed by an authority that the server knows",
        )
    if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER_FAILURE" in reason:
        return (f"the server does not speak TLS there: {reason}", "is it redis:// or another port?")
    return (f"TLS failed: {reason}", "look at the server's log")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from: redis-py wraps what the socket raised."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
