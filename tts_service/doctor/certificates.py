"""Certificates and files of secrets: readable, fitting together, and good for a while yet."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .finding import Finding, fail, ok, warn

__all__ = ["look_at_certificates", "look_at_secret_file"]

_SOON_S = 30 * 86_400.0
_DAY_S = 86_400.0


def look_at_certificates(
    certificate_file: Path, key_file: Path, client_ca_file: Path | None = None
) -> Iterator[Finding]:
    """Looks at what a server shows to its clients, and at whose certificates it takes.

    Args:
        certificate_file: PEM, the server's own certificate first.
        key_file: PEM.
        client_ca_file: PEM, the authorities of clients' certificates.
    """
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate_file, key_file, password=_no_password)
    except (OSError, ValueError) as error:
        what = _reason(error, certificate_file, key_file)
        yield fail("certificate", what, "see tls.certificate_file and tls.key_file")
    else:
        yield _own(server, certificate_file)
        yield from _if_open_to_others(key_file)
    if client_ca_file is not None:
        yield from _authorities(client_ca_file)


def look_at_secret_file(path: Path) -> Iterator[Finding]:
    """Looks whether a file of tokens or keys can be read, and by nobody else."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        yield fail("secrets", f"{path}: {error.strerror}", "make it readable for this user")
        return
    too_open = list(_if_open_to_others(path))
    yield from too_open or [ok("secrets", f"{path} can be read by its user alone")]


def _if_open_to_others(path: Path) -> Iterator[Finding]:
    mode = path.stat().st_mode & 0o777
    if mode & 0o007:
        yield warn("secrets", f"{path} can be read by anybody ({mode:o})", f"chmod 600 {path}")


def _no_password() -> str:
    # Without this OpenSSL would ask at the terminal.
    raise ValueError("the key is locked by a password")


def _reason(error: Exception, certificate_file: Path, key_file: Path) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{key_file} is not the key of {certificate_file}"
        return f"{certificate_file} and {key_file} are no PEM certificate and key"
    if isinstance(error, OSError):
        unreadable = next((f for f in (certificate_file, key_file) if not _can_read(f)), key_file)
        return f"{unreadable}: {error.strerror}"
    return f"{key_file}: {error}"


def _can_read(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False


def _own(server: ssl.SSLContext, certificate_file: Path) -> Finding:
    """Has a client shake hands with the server, in memory, as real ones will."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # The certificate vouches for itself: who signed it is the clients' matter.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cafile=certificate_file)
    try:
        shown = _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        return fail(
            "certificate",
            f"clients will refuse {certificate_file}: {error.verify_message}",
            "renew it",
        )
    names = ", ".join(str(name) for _, name in shown.get("subjectAltName", ()))
    if not names:
        return warn(
            "certificate", f"{certificate_file} names no host", "clients look for a subjectAltName"
        )
    return _by_age("certificate", f"{certificate_file} for {names}", shown)


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """Returns the certificate that the client saw."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    seen = ends[0]
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass
        if not ends:
            break
    return seen.getpeercert() or {}


def _authorities(path: Path) -> Iterator[Finding]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        yield fail("client CA", f"{path} holds no PEM certificate", "see tls.client_ca_file")
        return
    except OSError as error:
        yield fail("client CA", f"{path}: {error.strerror}", "see tls.client_ca_file")
        return
    authorities: list[dict[str, Any]] = context.get_ca_certs()
    if not authorities:
        yield fail(
            "client CA", f"{path} holds no authority's certificate", "see tls.client_ca_file"
        )
    for authority in authorities:
        parts = (pair for part in authority["subject"] for pair in part)
        name = ", ".join(f"{key}={value}" for key, value in parts)
        yield _by_age("client CA", f"{path}: {name}", authority)


def _by_age(check: str, what: str, certificate: dict[str, Any]) -> Finding:
    left_s = ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()
    if left_s < 0:
        return fail(check, f"{what}: expired {-left_s / _DAY_S:.0f} days ago", "renew it")
    found = f"{what}: good for {left_s / _DAY_S:.0f} days"
    return warn(check, found, "renew it soon") if left_s < _SOON_S else ok(check, found)
