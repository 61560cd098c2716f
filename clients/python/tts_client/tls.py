"""How a client makes sure of its server, and shows the server who it is."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import grpc


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS, with files in PEM.

    ca_file: the authorities that the server's certificate may come from; None: those that gRPC
        brings along, which are the public ones.
    certificate_file, key_file: this client's certificate and its private key, where the server asks
        for one. They go together.
    server_name: the name that the server's certificate has to have; empty: the address's host.
    """

    ca_file: str | PathLike[str] | None = None
    certificate_file: str | PathLike[str] | None = None
    key_file: str | PathLike[str] | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate_file is None) is not (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")

    def credentials(self) -> grpc.ChannelCredentials:
        """As gRPC takes it.

        Reads the files; raises `OSError` for one that cannot be read, `ValueError` for one that
        holds something else. gRPC would say neither, and find no server.
        """
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca_file, "CERTIFICATE"),
            private_key=_read(self.key_file, "PRIVATE KEY"),
            certificate_chain=_read(self.certificate_file, "CERTIFICATE"),
        )

    def options(self) -> list[tuple[str, str | int]]:
        """The channel options that go with it."""
        return [("grpc.ssl_target_name_override", self.server_name)] if self.server_name else []


def _read(path: str | PathLike[str] | None, label: str) -> bytes | None:
    if path is None:
        return None
    data = Path(path).read_bytes()
    if f"{label}-----".encode() not in data:
        raise ValueError(f"{path} holds no {label.lower()} in PEM")
    return data
