"""The small HTTP server that Prometheus reads from. It has one page."""

import sys
import threading
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from socket import AI_PASSIVE, SOCK_STREAM, getaddrinfo
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

import structlog
from prometheus_client.exposition import MetricsHandler

from .metrics import Metrics

__all__ = ["serve_metrics"]

_PATH = "/metrics"
_MAX_REQUESTS = 8
_PATIENCE_S = 10.0


class _Handler(MetricsHandler):
    timeout = _PATIENCE_S
    server_version = "tts-service"
    sys_version = ""

    def do_GET(self) -> None:  # noqa: N802 - http.server names it
        """Answers with all series. prometheus_client would do so on every path."""
        if urlsplit(self.path).path == _PATH:
            super().do_GET()
        else:
            self.send_error(404)


class _Listener(ThreadingHTTPServer):
    """A thread for each request, and so many of them at the most; others are hung up on."""

    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[_Handler]) -> None:
        self._free = threading.BoundedSemaphore(_MAX_REQUESTS)
        found = getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE)
        self.address_family, _, _, _, (actual_host, actual_port, *_) = found[0]
        super().__init__((str(actual_host), int(actual_port)), handler)

    def server_bind(self) -> None:
        # http.server's would ask the name service for our name, which may take long.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread to be had
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        # In place of socketserver's trace on standard error.
        if not isinstance(sys.exception(), OSError):  # one is a reader who left
            structlog.get_logger().exception("the metrics could not be read")


def serve_metrics(metrics: Metrics, host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Answers Prometheus on `http://HOST:PORT/metrics`, in threads of its own.

    Returns:
        The port, which differs for port 0, and what ends it.

    Raises:
        OSError: the address can't be listened on.
    """
    handler = type("Handler", (_Handler,), {"registry": metrics.registry})
    listener = _Listener(host, port, handler)
    thread = threading.Thread(target=listener.serve_forever, name="metrics", daemon=True)
    thread.start()

    def stop() -> None:
        listener.shutdown()
        listener.server_close()
        thread.join()

    return int(listener.server_address[1]), stop
