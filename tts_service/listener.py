"""Where the server listens: over which wire, and who is let in."""

import ipaddress
import socket
from pathlib import Path

import grpc
import grpc.aio
import structlog

from .config import ConfigError, Settings
from .identity import Gate, Reloaded, ServerCertificate, TokenFile, UnusableFileError

__all__ = ["bind", "check_exposure", "is_answered", "is_on_network", "make_gate", "socket_path"]


def socket_path(address: str) -> Path | None:
    """The file of a unix socket that is listened on, if it is one."""
    if not address.startswith("unix:"):
        return None
    return Path(address.removeprefix("unix:").removeprefix("//"))


def is_answered(path: Path) -> bool:
    """Whether somebody listens on a unix socket. What a crash left behind doesn't count.

    Raises:
        OSError: nobody could listen there, or only somebody else can tell.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def is_on_network(address: str) -> bool:
    """Whether another machine may reach what listens there. A name other than localhost: yes."""
    if address.startswith("unix:"):
        return False
    host = address.rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return False
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return True
    mapped = getattr(ip, "ipv4_mapped", None)
    return not (mapped or ip).is_loopback


def check_exposure(settings: Settings) -> None:
    """Sees to it that nobody is exposed who didn't say so.

    Raises:
        ConfigError: the listener is on a network without TLS, or lets anybody in.
    """
    certificates_suffice = settings.tls.client_ca_file is None or settings.tls.client_scopes
    if settings.auth.tokens_file is None and not certificates_suffice:
        raise ConfigError(
            "tls.client_scopes: is empty and there is no auth.tokens_file: nobody could call"
        )
    if is_on_network(settings.metrics_listen or "unix:"):
        structlog.get_logger().warning(
            "metrics_listen answers anybody who reaches it", address=settings.metrics_listen
        )
    if not is_on_network(settings.listen):
        return
    if settings.tls.files is None and not settings.tls.plaintext_on_network:
        raise ConfigError(
            f"listen: {settings.listen} can be reached from a network, and there is no TLS. Set "
            "tls.certificate_file and tls.key_file; or listen on 127.0.0.1 or unix:PATH "
            "(--listen); or, if something before the server encrypts, set "
            "tls.plaintext_on_network = true"
        )
    if _asks_nobody(settings) and not settings.auth.anonymous_on_network:
        raise ConfigError(
            f"listen: {settings.listen} can be reached from a network, and anybody could call. Set "
            "auth.tokens_file or tls.client_ca_file; or listen on 127.0.0.1 or unix:PATH "
            "(--listen); or, if something before the server knows its callers, set "
            "auth.anonymous_on_network = true"
        )


def make_gate(settings: Settings) -> Gate:
    """Who is let in.

    Raises:
        ConfigError: the file of tokens can't be used.
    """
    scopes = () if settings.tls.client_ca_file is None else settings.tls.client_scopes
    if settings.auth.tokens_file is None:
        return Gate(None, scopes)
    try:
        tokens = TokenFile(settings.auth.tokens_file).watched()
    except UnusableFileError as error:
        raise ConfigError(
            f"{error}; `tts-service tokens add NAME --scope speak` makes a token"
        ) from error
    return Gate(tokens, scopes)


def bind(server: grpc.aio.Server, settings: Settings) -> int:
    """Has a server listen as the settings say.

    Returns:
        The port, 0 for a unix socket.

    Raises:
        ConfigError: the address, the certificate or its key can't be used.
    """
    try:
        certificate = None if settings.tls.files is None else settings.tls.files.watched()
    except UnusableFileError as error:
        raise ConfigError(str(error)) from error
    in_use = ConfigError(
        f"can't listen on {settings.listen}: the address is in use or not this machine's; choose "
        "another with --listen"
    )
    try:
        # gRPC would take the path away from who listens there.
        if (path := socket_path(settings.listen)) is not None and is_answered(path):
            raise in_use
        if certificate is None:
            port = server.add_insecure_port(settings.listen)
        else:
            port = server.add_secure_port(settings.listen, _credentials(certificate))
    except (OSError, RuntimeError) as error:
        raise in_use from error
    structlog.get_logger().info(
        "listening",
        tls=certificate is not None,
        tokens=settings.auth.tokens_file is not None,
        client_certificates=settings.tls.client_ca_file is not None,
    )
    return port


def _credentials(certificate: Reloaded[ServerCertificate]) -> grpc.ServerCredentials:
    """Credentials of a certificate that changes. Connections keep the one they began with."""
    given = certificate.current()

    def next_one() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC, in a thread of its own, before each handshake."""
        nonlocal given
        latest = certificate.current()
        if latest is given:
            return None
        given = latest
        return _configuration(latest)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given),
        next_one,  # type: ignore[arg-type]  # None, for no change, is missing from the stubs
        require_client_authentication=given.client_authorities is not None,
    )


def _configuration(certificate: ServerCertificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(certificate.key, certificate.chain)], certificate.client_authorities
    )


def _asks_nobody(settings: Settings) -> bool:
    return settings.auth.tokens_file is None and settings.tls.client_ca_file is None
