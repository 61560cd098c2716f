"""The server's certificate, and the authority of its clients'."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from .reloaded import Reloaded, UnusableFileError

__all__ = ["ServerCertificate", "TlsFiles"]

# Such as the file of all authorities that a system trusts.
_MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """What a listener needs for TLS, all of it PEM.

    Attributes:
        chain: the server's certificate first.
        key: its private key.
        client_authorities: who may have signed clients' certificates; None: clients need none.
    """

    chain: bytes
    key: bytes = field(repr=False)
    client_authorities: bytes | None = None


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where it lies."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def load(self) -> ServerCertificate:
        """Reads and checks all of it.

        Raises:
            UnusableFileError: a file can't be read or used, or two don't belong together.
        """
        chain = _read("tls.certificate_file", self.certificate)
        key = _read("tls.key_file", self.key)
        # OpenSSL says what is wrong, where gRPC only says that something is.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _check_certificates("tls.certificate_file", self.certificate, chain)
        try:
            context.load_cert_chain(self.certificate, self.key, lambda: b"")
        except (OSError, ValueError) as error:
            problem = "holds no private key that can be used without a password"
            if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                problem = "is not the key of the certificate"
            raise UnusableFileError("tls.key_file", problem, self.key) from None
        authorities = None
        if self.client_ca is not None:
            authorities = _read("tls.client_ca_file", self.client_ca)
            _check_certificates("tls.client_ca_file", self.client_ca, authorities)
        return ServerCertificate(chain, key, authorities)

    def watched(self) -> Reloaded[ServerCertificate]:
        """The certificate, loaded anew when a file changes.

        Raises:
            UnusableFileError: as `load`.
        """
        files = [self.certificate, self.key, *filter(None, [self.client_ca])]
        return Reloaded("certificate", files, self.load)


def _read(setting: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise UnusableFileError(setting, "there is no such file", path) from None
    except OSError as error:
        raise UnusableFileError(setting, error.strerror or "can't be read", path) from None
    if len(data) > _MAX_BYTES:
        raise UnusableFileError(setting, f"is longer than {_MAX_BYTES} bytes", path)
    return data


def _check_certificates(setting: str, path: Path, pem: bytes) -> None:
    try:
        text = pem.decode("utf-8", "replace")
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=text)
    except (OSError, ValueError):
        raise UnusableFileError(setting, "holds no certificate in PEM", path) from None
