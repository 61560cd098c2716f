"""`tts-service health`, as a probe runs it."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.server_process import ServerProcess

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def _health(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tts_service", "health", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), **environment},
    )


@contextmanager
def _answering(status: int, credentials: grpc.ServerCredentials | None = None) -> Iterator[int]:
    """A server that has nothing but its health."""
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    servicer.set("", status)  # type: ignore[arg-type]
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = (
        server.add_insecure_port("127.0.0.1:0")
        if credentials is None
        else server.add_secure_port("127.0.0.1:0", credentials)
    )
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate for tts.example, which signs itself."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=tts.example"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-addext", "subjectAltName=DNS:tts.example"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


def test_a_server_that_serves(tone_server: ServerProcess) -> None:
    for arguments in ([], ["--service", "tts.v1.TextToSpeech"]):
        process = _health("--address", tone_server.address, *arguments)
        assert (process.returncode, process.stdout) == (0, "SERVING\n")
    process = _health("--address", tone_server.address, "--service", "nobody.v1.Nothing")
    assert process.returncode == 1
    assert "NOT_FOUND" in process.stderr


def test_it_finds_the_server_of_its_settings(tone_server: ServerProcess) -> None:
    """Also the one that listens on all addresses, as in a container."""
    port = tone_server.address.rpartition(":")[2]
    for listen in (tone_server.address, f"0.0.0.0:{port}"):
        assert _health(TTS_LISTEN=listen).returncode == 0


def test_a_server_that_does_not_serve() -> None:
    with _answering(_NOT_SERVING) as port:
        process = _health("--address", f"127.0.0.1:{port}")
    assert (process.returncode, process.stdout) == (1, "NOT_SERVING\n")
    process = _health("--address", f"127.0.0.1:{port}", "--timeout-s", "1")
    assert process.returncode == 1
    assert "UNAVAILABLE" in process.stderr
    assert "Traceback" not in process.stderr


def test_with_tls(tmp_path: Path) -> None:
    key, certificate = _certificate(tmp_path)
    both = [(key.read_bytes(), certificate.read_bytes())]
    with _answering(_SERVING, grpc.ssl_server_credentials(both)) as port:
        address, trust = f"127.0.0.1:{port}", ("--ca", str(certificate))
        name = ("--server-name", "tts.example")
        assert _health("--address", address, *trust, *name).returncode == 0
        assert _health("--address", address, *trust, "--server-name", "other").returncode == 1
        assert _health("--address", address, "--timeout-s", "1").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "environment", "word"),
    [
        (["--cert", __file__], {}, "--key"),
        (["--server-name", "x"], {}, "--ca"),
        (["--ca", "/nonexistent"], {}, "/nonexistent"),
        ([], {"TTS_LISTEN": "127.0.0.1:0"}, "--address"),
        ([], {"TTS_LISTEN": "nowhere"}, "listen"),
    ],
)
def test_options_that_cant_be_used(
    arguments: list[str], environment: dict[str, str], word: str
) -> None:
    process = _health(*arguments, **environment)
    assert process.returncode == 2
    assert word in process.stderr
