"""A connection to the server that may say anything, and reads what comes of it."""

import socket
from collections.abc import Iterable
from contextlib import suppress

import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
)

__all__ = ["PREFACE", "Headers", "Peer"]

Headers = list[tuple[str, str | bytes]]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Peer:
    """One connection to the server, which may close it at any time.

    Attributes:
        statuses: of the calls that it has got an answer to, as (grpc-status, grpc-message).
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._received = b""
        self._is_open = True
        self.statuses: list[tuple[str, str]] = []

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()

    def send(self, *pieces: bytes | Frame) -> None:
        """Sends bytes and frames. Nothing happens once the server has hung up."""
        data = b"".join(p if isinstance(p, bytes) else p.serialize() for p in pieces)
        with suppress(OSError):
            self._socket.sendall(data)

    def greet(self) -> None:
        """Begins as an honest client does."""
        self.send(PREFACE, SettingsFrame(0))

    def headers(self, headers: Iterable[tuple[str, str | bytes]]) -> bytes:
        """A header block for this connection."""
        return self._encoder.encode(list(headers))

    def call(self, stream: int, headers: Headers, *bodies: bytes, ends: bool = True) -> None:
        """Sends a whole call: its headers, its data, its end."""
        self.send(HeadersFrame(stream, data=self.headers(headers), flags=["END_HEADERS"]))
        for number, body in enumerate(bodies):
            is_last = ends and number == len(bodies) - 1
            self.send(DataFrame(stream, data=body, flags=["END_STREAM"] if is_last else []))

    def listen(self, *, for_s: float, answers: int | None = None) -> None:
        """Takes what comes until nothing does for a while, or the server hangs up.

        Args:
            answers: or until so many calls are answered.
        """
        self._socket.settimeout(for_s)
        with suppress(OSError):
            while self._is_open and (answers is None or len(self.statuses) < answers):
                data = self._socket.recv(1 << 16)
                self._is_open = bool(data)
                self._received += data
                self._take_frames()

    def expect_answer(self, *, within_s: float = 10.0) -> None:
        """Waits until a call is answered, or the server hangs up.

        Raises:
            TimeoutError: neither happened.
        """
        self.listen(for_s=within_s, answers=1)
        if self._is_open and not self.statuses:
            raise TimeoutError("a call got no answer, and the connection stayed open")

    def _take_frames(self) -> None:
        while len(self._received) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._received[:9]))
            if len(self._received) < 9 + length:
                return
            frame.parse_body(memoryview(self._received[9 : 9 + length]))
            self._received = self._received[9 + length :]
            if isinstance(frame, HeadersFrame):
                self._take_headers(frame.data)
            elif isinstance(frame, RstStreamFrame):
                self.statuses.append(("RST_STREAM", str(frame.error_code)))
            elif isinstance(frame, GoAwayFrame):
                self._is_open = False

    def _take_headers(self, block: bytes) -> None:
        # gRPC's own messages may quote what it was sent, whatever that is.
        headers = {
            _text(name): _text(value) for name, value in self._decoder.decode(block, raw=True)
        }
        if "grpc-status" in headers:
            self.statuses.append((headers["grpc-status"], headers.get("grpc-message", "")))
        elif headers.get(":status", "200") != "200":
            self.statuses.append((f"HTTP {headers[':status']}", ""))


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode(errors="replace")
