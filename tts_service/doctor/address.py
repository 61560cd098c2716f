"""The addresses to listen on: free, or taken by a server that is well."""

import errno
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ..config import Settings
from ..listener import is_answered, socket_path
from .finding import Finding, fail, ok, warn

__all__ = ["look_at_addresses"]

_SERVICE = "tts.v1.TextToSpeech"
_ANSWER_TIMEOUT_S = 3.0
_LONGEST_SOCKET_PATH_BYTES = 107
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def look_at_addresses(settings: Settings) -> Iterator[Finding]:
    """Looks at `listen` and `metrics_listen`."""
    listen = settings.listen
    problem = _problem(listen)
    is_taken = problem is not None and problem.errno == errno.EADDRINUSE
    if is_taken:
        yield _who_is_there(settings)
    elif problem is not None:
        yield fail("address", f"{listen}: {problem.strerror}", "choose another with listen")
    else:
        yield ok("address", f"{listen} is free")
    if settings.metrics_listen:
        problem = _problem(settings.metrics_listen)
        if problem is None:
            yield ok("address", f"{settings.metrics_listen} is free for metrics")
        elif is_taken and problem.errno == errno.EADDRINUSE:
            yield ok("address", f"{settings.metrics_listen} is in use, as by a server for metrics")
        else:
            yield fail(
                "address",
                f"{settings.metrics_listen}: {problem.strerror}",
                "choose another with metrics_listen",
            )


def _problem(address: str) -> OSError | None:
    """Why nobody can listen there now; None if it is free."""
    try:
        if (path := socket_path(address)) is not None:
            _try_path(path)
        else:
            _try_port(address)
    except OSError as error:
        return error
    return None


def _try_port(address: str) -> None:
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, place = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As gRPC does: connections of an earlier server that are closing are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(place)


def _try_path(path: Path) -> None:
    if len(bytes(path)) > _LONGEST_SOCKET_PATH_BYTES:
        raise OSError(errno.ENAMETOOLONG, "the path of a socket holds 107 bytes at most")
    if not path.parent.is_dir():
        raise OSError(errno.ENOENT, f"there is no folder {path.parent}")
    if is_answered(path):
        raise OSError(errno.EADDRINUSE, "address already in use")


def _who_is_there(settings: Settings) -> Finding:
    listen, files = settings.listen, settings.tls.files
    if files is not None:
        return _who_shows_that(listen, files.certificate)
    try:
        # Not through the proxy of the environment.
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(_reachable(listen), options) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(
                health_pb2.HealthCheckRequest(service=_SERVICE), timeout=_ANSWER_TIMEOUT_S
            )
    except grpc.RpcError:
        return fail(
            "address",
            f"{listen} is taken by something that answers no health check of this service",
            "end it, or choose another address with listen",
        )
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ok("address", f"{listen} is where a server is, SERVING")
    return warn("address", f"{listen} is where a server is, NOT_SERVING", "see its log")


def _who_shows_that(listen: str, certificate_file: Path) -> Finding:
    """Whether a server of ours is there; it may answer no caller without a certificate."""
    if listen.startswith("unix:"):
        return warn(
            "address", f"{listen} is in use, by whom can't be told", "see if it is a server"
        )
    host, _, port = _reachable(listen).rpartition(":")
    place = (host.strip("[]"), int(port))
    try:
        shown = ssl.get_server_certificate(place, timeout=_ANSWER_TIMEOUT_S)
        own = certificate_file.read_text()
    except (OSError, ValueError) as error:
        return fail(
            "address",
            f"{listen} is taken by something that speaks no TLS: {error}",
            "end it, or choose another address with listen",
        )
    if "".join(shown.split()) in "".join(own.split()):
        return ok("address", f"{listen} is where a server with this certificate is")
    return fail(
        "address",
        f"{listen} is taken by a server with another certificate",
        "end it, have it read its files anew, or choose another address with listen",
    )


def _reachable(listen: str) -> str:
    """Where a client finds a server that listens there."""
    if listen.startswith("unix:"):
        return listen
    host, _, port = listen.rpartition(":")
    bare = host.strip("[]")
    bare = _ANYWHERE.get(bare, bare)
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
