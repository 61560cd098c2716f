"""`tts-service health`: asks a server how it is, for probes that have nothing else to ask with."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .failure import EXIT_FAILURE, fail
from .places import read_settings

if TYPE_CHECKING:
    import grpc

__all__ = ["health"]

_PEM = click.Path(path_type=Path, dir_okay=False, exists=True)
# What a server listens on, and nobody can connect to.
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}


@click.command()
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Whom to ask. Default: the server of these settings, on this machine.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="TTS_CONFIG",
    help="The server's TOML file, for where it listens.",
)
@click.option(
    "--service", default="", metavar="NAME", help="Such as tts.v1.TextToSpeech. Default: all."
)
@click.option("--ca", type=_PEM, metavar="FILE", help="Speak TLS; the authorities to trust, PEM.")
@click.option("--cert", type=_PEM, metavar="FILE", help="Certificate to show to the server, PEM.")
@click.option("--key", type=_PEM, metavar="FILE", help="Its private key, PEM.")
@click.option("--server-name", metavar="NAME", help="Name in the server's certificate.")
@click.option(
    "--timeout-s",
    type=click.FloatRange(0.1, 60.0),
    default=3.0,
    show_default=True,
    metavar="S",
    help="How long to wait for the answer.",
)
def health(
    address: str | None,
    config_file: Path | None,
    service: str,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    server_name: str | None,
    timeout_s: float,
) -> None:
    """Ask a server whether it serves.

    \b
    Exit status:
      0  it does
      1  it doesn't, or there was no answer; standard error says which
      2  the options or the settings can't be used
    """
    if (cert is None) is not (key is None):
        fail("--cert and --key belong together")
    if ca is None and (cert is not None or server_name is not None):
        fail("--cert, --key and --server-name are for TLS: name the authorities with --ca")
    target = address or _own_address(config_file)
    # gRPC's own lines tell nothing that ours doesn't.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    request = health_pb2.HealthCheckRequest(service=service)
    try:
        with _channel(target, ca, cert, key, server_name) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            response = stub.Check(request, timeout=timeout_s)
    except grpc.RpcError as error:
        fail(f"{target}: {error.code().name}: {error.details()}", EXIT_FAILURE)
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    click.echo(status)
    sys.exit(0 if response.status == health_pb2.HealthCheckResponse.SERVING else EXIT_FAILURE)


def _own_address(config_file: Path | None) -> str:
    listen = read_settings(None, config_file).listen
    host, _, port = listen.rpartition(":")
    if port == "0":
        fail("the server takes a free port: say which with --address")
    return f"{_ANY_HOST[host]}:{port}" if host in _ANY_HOST else listen


def _channel(
    target: str, ca: Path | None, cert: Path | None, key: Path | None, server_name: str | None
) -> "grpc.Channel":
    import grpc

    # A probe asks this server, whatever proxy the environment names.
    options: list[tuple[str, int | str]] = [("grpc.enable_http_proxy", 0)]
    if ca is None:
        return grpc.insecure_channel(target, options)
    if server_name is not None:
        options.append(("grpc.ssl_target_name_override", server_name))
    credentials = grpc.ssl_channel_credentials(
        ca.read_bytes(),
        None if key is None else key.read_bytes(),
        None if cert is None else cert.read_bytes(),
    )
    return grpc.secure_channel(target, credentials, options)
