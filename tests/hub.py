"""A Hugging Face hub on loopback, as far as a download needs one.

Files in Git LFS are answered as the real one does it: the address of a file redirects to another
host, and the redirect carries size and SHA-256.
"""

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "people/voice"


@dataclass(frozen=True)
class Request:
    """What was asked, and how many bytes of a body went out."""

    method: str
    place: str
    file_name: str
    range: str | None
    logged_in: bool
    sent_bytes: int


@dataclass
class Hub:
    """What the hub has, and how it misbehaves.

    Attributes:
        files: by name. Those that end in `.pth` are in Git LFS.
        stated: what it says that it has, where that is something else.
        cuts: of a file, after how many bytes of a body each next answer breaks off.
        holds: of a file, after how many bytes of a body answers stand still.
        status: of every answer, if not 200; `error_code` is the hub's own word for it.
        ranges: whether parts can be asked for.
    """

    files: dict[str, bytes]
    url: str = ""
    cdn_url: str = ""
    stated: dict[str, bytes] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    holds: dict[str, int] = field(default_factory=dict)
    status: int = 200
    error_code: str = ""
    ranges: bool = True
    requests: list[Request] = field(default_factory=list)
    holding: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def manifest(self) -> str:
        """Describes its files as `--manifest` wants them."""
        lines = [f'repository = "{REPOSITORY}"', f'revision = "{REVISION}"']
        for name, data in self.files.items():
            digest = hashlib.sha256(self.stated.get(name, data)).hexdigest()
            lines += ["[[files]]", f'name = "{name}"', f"size_bytes = {len(data)}"]
            lines += [f'sha256 = "{digest}"']
        return "\n".join(lines) + "\n"

    def bodies(self, file_name: str) -> list[Request]:
        """The requests that were answered with bytes of a file."""
        return [
            request
            for request in self.requests
            if (request.method, request.file_name) == ("GET", file_name) and request.sent_bytes
        ]


@contextmanager
def running_hub(files: dict[str, bytes]) -> Iterator[Hub]:
    """Serves until the context is left."""
    hub = Hub(files)

    class Handler(_Handler):
        state = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_address[1]
        hub.url, hub.cdn_url = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            hub.released.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keeps the test's output clean."""

    def _answer(self) -> None:
        hub = self.state
        place, _, name = self.path.rpartition("/")
        if hub.status != 200:
            self._head(hub.status, {"Content-Length": "0", "X-Error-Code": hub.error_code})
        elif place == "/cdn":
            self._send(name, {})
        elif name not in hub.files:
            self._head(404, {"Content-Length": "0", "X-Error-Code": "EntryNotFound"})
        else:
            data = hub.stated.get(name, hub.files[name])
            headers = {"X-Repo-Commit": place.rpartition("/")[2]}
            if name.endswith(".pth"):
                headers["X-Linked-Size"] = str(len(data))
                headers["X-Linked-ETag"] = f'"{hashlib.sha256(data).hexdigest()}"'
                headers["Location"] = f"{hub.cdn_url}/cdn/{name}"
                self._head(302, headers | {"Content-Length": "0"})
            else:
                blob = b"blob %d\0" % len(data) + data
                headers["ETag"] = f'"{hashlib.sha1(blob).hexdigest()}"'
                self._send(name, headers)

    def _send(self, name: str, headers: dict[str, str]) -> None:
        hub = self.state
        data = hub.files[name]
        wanted = self.headers.get("Range")
        begin = int(wanted[len("bytes=") : -1]) if wanted and hub.ranges else 0
        status = 206 if wanted and hub.ranges else 200
        if status == 206:
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        end = len(data)
        cuts = hub.cuts.get(name)
        if self.command == "GET" and cuts:
            end = min(end, begin + cuts.pop(0))
        if name in hub.holds:
            end = min(end, begin + hub.holds[name])
        body = data[begin:end] if self.command == "GET" else b""
        self._head(status, headers | {"Content-Length": str(len(data) - begin)}, len(body))
        self.wfile.write(body)
        if name in hub.holds and body:
            hub.holding.set()
            hub.released.wait(60)
        if self.command == "GET" and end < len(data):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _head(self, status: int, headers: dict[str, str], sent_bytes: int = 0) -> None:
        place, _, name = self.path.rpartition("/")
        logged_in = "Authorization" in self.headers
        asked = Request(self.command, place, name, self.headers.get("Range"), logged_in, sent_bytes)
        self.state.requests.append(asked)
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
