"""Certificates and tokens for tests, made afresh, and servers that ask for them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.server_process import ServerProcess, running_server
from tts_client import Tls
from tts_service.identity import Scope, Token, TokenFile, TokenRecord

INFO = tts_pb2.GetServerInfoRequest()
NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass
class Authority:
    """An authority of certificates; its files lie in a folder of their own."""

    folder: Path
    ca: trustme.CA = field(default_factory=lambda: trustme.CA(key_type=trustme.KeyType.ECDSA))

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca.cert_pem.write_to_path(self.path)

    @property
    def path(self) -> Path:
        """The authority's own certificate."""
        return self.folder / "ca.pem"

    @property
    def tls(self) -> Tls:
        """For a client that trusts this authority."""
        return Tls(ca_file=self.path)

    def server(self) -> "KeyPair":
        """For a server on loopback."""
        return self.issue("server", "127.0.0.1", "localhost")

    def issue(self, file: str, *names: str, **options: Any) -> "KeyPair":
        """A certificate of these names."""
        issued = self.ca.issue_cert(*names, key_type=trustme.KeyType.ECDSA, **options)
        pair = KeyPair(self.folder / f"{file}.pem", self.folder / f"{file}.key")
        pair.write(
            b"".join(blob.bytes() for blob in issued.cert_chain_pems),
            issued.private_key_pem.bytes(),
        )
        return pair

    def issue_uri(self, file: str, uri: str, *dns_names: str) -> "KeyPair":
        """A certificate of a URI, which trustme has no way to ask for."""
        authority = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes())
        authority_key = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=1))
            .not_valid_after(NOW + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([*names, x509.UniformResourceIdentifier(uri)]), False
            )
            .sign(authority_key, hashes.SHA256())
        )
        pair = KeyPair(self.folder / f"{file}.pem", self.folder / f"{file}.key")
        pair.write(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )
        return pair


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path

    def write(self, certificate: bytes, key: bytes) -> None:
        """Replaces both."""
        self.certificate.write_bytes(certificate)
        self.key.write_bytes(key)

    def become(self, other: "KeyPair") -> None:
        """Replaces both by another pair's."""
        self.write(other.certificate.read_bytes(), other.key.read_bytes())

    @property
    def settings(self) -> dict[str, str]:
        """The server's variables."""
        return {
            "TTS_TLS__CERTIFICATE_FILE": str(self.certificate),
            "TTS_TLS__KEY_FILE": str(self.key),
        }

    def client(self, authority: Authority) -> Tls:
        """For a client that shows it to a server of an authority."""
        return Tls(authority.path, self.certificate, self.key)


class Tokens:
    """A file of tokens, and the tokens themselves by their holders' names."""

    def __init__(self, path: Path) -> None:
        self.file = TokenFile(path)
        self.texts: dict[str, str] = {}

    def add(self, name: str, *scopes: str, **fields: Any) -> str:
        """Makes a token that is valid unless `fields` of its record say otherwise."""
        token = Token.make()
        record = TokenRecord(
            id=token.id,
            name=name,
            sha256=token.sha256,
            scopes=tuple(map(Scope, scopes)),
            created=NOW - timedelta(days=9),
            **fields,
        )
        self.file.change(lambda records: (*records, record))
        self.texts[name] = token.text
        return token.text

    @classmethod
    def of_all_kinds(cls, path: Path) -> "Tokens":
        """Good ones of each scope, and the bad ones."""
        tokens = cls(path)
        tokens.add("speaker", "speak")
        tokens.add("keeper", "voices")
        tokens.add("chief", "admin")
        tokens.add("late", "admin", expires=NOW - timedelta(seconds=1))
        tokens.add("gone", "admin", revoked=True)
        tokens.add("coming", "speak", expires=NOW + timedelta(days=1))
        return tokens

    @property
    def settings(self) -> dict[str, str]:
        """The server's variables."""
        return {"TTS_AUTH__TOKENS_FILE": str(self.file.path)}


@contextmanager
def asking_server(folder: Path, *settings: Mapping[str, str]) -> Iterator[ServerProcess]:
    """A server with the tone engine and these settings."""
    environment = {name: value for group in settings for name, value in group.items()}
    with running_server(folder, "--engine", "tone", environment=environment) as server:
        yield server


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call that shows a token."""
    return (("authorization", f"Bearer {token}"),)


@contextmanager
def stub_over(address: str, tls: Tls | None) -> Iterator[tts_pb2_grpc.TextToSpeechStub]:
    """A generated stub on a connection of its own."""
    # A pool of its own, or a second channel would use the first one's connection.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    channel = (
        grpc.insecure_channel(address, options)
        if tls is None
        else grpc.secure_channel(address, tls.credentials(), options)
    )
    with channel:
        yield tts_pb2_grpc.TextToSpeechStub(channel)


def log_lines(server: ServerProcess) -> list[dict[str, Any]]:
    """All that the server has logged so far."""
    # The last line may be half written.
    return [json.loads(line) for line in server.log.splitlines(True) if line.endswith("\n")]


def log_line(server: ServerProcess, request_id: str) -> dict[str, Any]:
    """The log line of a call. It is written just after the caller has its answer."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for line in log_lines(server):
            if line.get("request_id") == request_id and line["event"] == "call":
                return line
        time.sleep(0.02)
    raise AssertionError(f"no line of {request_id}")


def grpcurl(server: ServerProcess, *options: str, verb: str) -> "subprocess.CompletedProcess[str]":
    """Runs grpcurl, which says `verb` to the server: a method, or `list`."""
    return subprocess.run(
        [Path(sys.executable).parent / "grpcurl", *options, server.address, verb],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
