"""HTTP/2 and gRPC as nobody should speak them, byte by byte over a socket.

hyperframe and hpack make the frames; the attacks put them in the wrong order, number and size, and
damage them. Each attack gets a connected `Peer` and a `Random`; the same `Random` attacks alike.
"""

import gzip
import random
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from protos.tts.v1 import tts_pb2
from tests.fuzz.wire_peer import PREFACE, Headers, Peer

__all__ = ["ATTACKS", "Attack", "message", "request"]

Attack = Callable[[Peer, random.Random], None]

_HELLO = tts_pb2.SynthesizeRequest(text="Hello").SerializeToString()
_METHODS = ("Synthesize", "UploadVoice", "ListVoices", "GetVoice", "DeleteVoice", "GetServerInfo")
_FLOOD = 2000
# Compressed it fits into the window that a server opens to a stranger.
_BOMB_BYTES = 60_000_000


def request(method: str = "Synthesize", **changes: str | bytes) -> Headers:
    """The headers of an honest call, but for some."""
    headers: dict[str, str | bytes] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/tts.v1.TextToSpeech/{method}",
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "fuzz",
    }
    return list((headers | changes).items())


def message(data: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """As gRPC frames it, or with another flag or length."""
    return struct.pack("!BI", compressed, len(data) if length is None else length) + data


def _conversation(peer: Peer) -> bytes:
    """What an honest client sends: two calls, a ping, and acknowledgements."""
    frames: list[Frame] = [SettingsFrame(0), SettingsFrame(0, flags=["ACK"])]
    for stream, method in ((1, "Synthesize"), (3, "GetServerInfo")):
        block = peer.headers(request(method))
        frames.append(HeadersFrame(stream, data=block, flags=["END_HEADERS"]))
        body = message(_HELLO if method == "Synthesize" else b"")
        frames.append(DataFrame(stream, data=body, flags=["END_STREAM"]))
    frames += [WindowUpdateFrame(0, window_increment=1 << 20), PingFrame(0, opaque_data=bytes(8))]
    return PREFACE + b"".join(frame.serialize() for frame in frames)


# Attacks on the connection: the server may hang up.


def garbage(peer: Peer, chance: random.Random) -> None:
    """Anything but HTTP/2."""
    http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    peer.send(
        chance.choice((chance.randbytes(chance.randrange(5000)), http, bytes(9), PREFACE[5:]))
    )


def tls_hello(peer: Peer, chance: random.Random) -> None:
    """A client that believes in TLS."""
    context = ssl.create_default_context()
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    peer.send(hello[: chance.choice((len(hello), chance.randrange(1, len(hello))))])


def half_a_preface(peer: Peer, chance: random.Random) -> None:
    """Nothing more comes after it."""
    peer.send(PREFACE[: chance.randrange(len(PREFACE))])


def damaged_conversation(peer: Peer, chance: random.Random) -> None:
    """An honest one with wounds behind the preface, or its end missing."""
    data = bytearray(_conversation(peer))
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(len(PREFACE), len(data))
        match chance.randrange(4):
            case 0:
                data[place] ^= 1 << chance.randrange(8)
            case 1:
                del data[place : place + chance.randrange(1, 40)]
            case 2:
                data[place:place] = chance.randbytes(chance.randrange(1, 40))
            case _:
                data[place:place] = data[place : place + chance.randrange(1, 200)]
    peer.send(bytes(data[: chance.choice((len(data), chance.randrange(len(PREFACE), len(data))))]))


def random_frames(peer: Peer, chance: random.Random) -> None:
    """Frames of any type, flags and stream."""
    peer.greet()
    for _ in range(chance.randint(1, 30)):
        body = chance.randbytes(chance.choice((0, 1, 4, 5, 6, 8, 9, 100)))
        stream = chance.choice((0, 1, 2, 3, 0x7FFFFFFF, chance.getrandbits(31)))
        peer.send(_raw_frame(chance.randrange(12), chance.getrandbits(8), stream, body))


def oversized_frame(peer: Peer, chance: random.Random) -> None:
    """One that says it is of 16 MB."""
    peer.greet()
    header = _raw_frame(chance.randrange(10), 0, chance.choice((0, 1)), b"", length=(1 << 24) - 1)
    peer.send(header, bytes(100_000))


def settings(peer: Peer, chance: random.Random) -> None:
    """Settings out of range, unknown, or of a length that is none."""
    peer.greet()
    body = b"".join(
        struct.pack("!HI", chance.randrange(10), chance.choice((0, 1, 2**31, 2**32 - 1, 16_384)))
        for _ in range(chance.randrange(20))
    )
    peer.send(_raw_frame(4, 0, chance.choice((0, 0, 1)), body + bytes(chance.choice((0, 0, 3)))))
    peer.call(1, request("GetServerInfo"), message(b""))


def settings_flood(peer: Peer, chance: random.Random) -> None:
    """Each of them is to be acknowledged."""
    peer.greet()
    peer.send(SettingsFrame(0).serialize() * _FLOOD)


def ping_flood(peer: Peer, chance: random.Random) -> None:
    """Each of them is to be answered."""
    peer.greet()
    peer.send(PingFrame(0, opaque_data=chance.randbytes(8)).serialize() * _FLOOD)


def rapid_reset(peer: Peer, chance: random.Random) -> None:
    """Calls that are begun and given up at once, as in CVE-2023-44487."""
    peer.greet()
    method = chance.choice(_METHODS)
    for number in range(200):
        stream = 2 * number + 1
        headers = HeadersFrame(stream, data=peer.headers(request(method)), flags=["END_HEADERS"])
        body = DataFrame(stream, data=message(_HELLO), flags=["END_STREAM"])
        pieces = (headers, body) if chance.random() < 0.5 else (headers,)
        peer.send(*pieces, RstStreamFrame(stream, error_code=8))


def continuation_flood(peer: Peer, chance: random.Random) -> None:
    """Headers without an end."""
    peer.greet()
    peer.send(HeadersFrame(1, data=peer.headers(request())))
    block = peer.headers([(f"x-{chance.getrandbits(32):08x}", "y" * 100)])
    peer.send(ContinuationFrame(1, data=block).serialize() * _FLOOD)


def unfinished_headers(peer: Peer, chance: random.Random) -> None:
    """They never end, and something else comes between."""
    peer.greet()
    block = peer.headers(request())
    peer.send(HeadersFrame(1, data=block[: chance.randrange(len(block))]))
    if chance.random() < 0.5:
        peer.send(PingFrame(0, opaque_data=bytes(8)))


def windows(peer: Peer, chance: random.Random) -> None:
    """Increments of nothing, and beyond what a window holds."""
    peer.greet()
    peer.call(1, request(), message(_HELLO))
    for _ in range(3):
        increment = chance.choice((0, 1, 2**31 - 1))
        stream = chance.choice((0, 1, 3))
        peer.send(_raw_frame(8, 0, stream, struct.pack("!I", increment)))


def wrong_streams(peer: Peer, chance: random.Random) -> None:
    """Ids that are even, go down, are used twice, or were never begun."""
    peer.greet()
    for stream in chance.choices((0, 1, 2, 3, 5, 2**31 - 1), k=4):
        block = peer.headers(request("GetServerInfo"))
        header = _raw_frame(1, 4, stream, block)
        peer.send(*(chance.choice(((header,), (header, _raw_frame(0, 1, stream, message(b"")))))))
    peer.send(_raw_frame(0, 0, 99, message(_HELLO)))


def odd_frames(peer: Peer, chance: random.Random) -> None:
    """Priorities of a stream on itself, promises to a server, farewells, padding beyond the end."""
    peer.greet()
    peer.send(
        chance.choice(
            (
                PriorityFrame(1, depends_on=1, stream_weight=255),
                PushPromiseFrame(1, promised_stream_id=2, data=b"", flags=["END_HEADERS"]),
                GoAwayFrame(0, last_stream_id=0, error_code=chance.randrange(20)),
                _raw_frame(1, 0x2C, 1, b"\xff" + bytes(10)),
                _raw_frame(0, 0x08, 1, b"\xff\x00"),
            )
        )
    )
    peer.call(1, request("GetServerInfo"), message(b""))


def header_tables(peer: Peer, chance: random.Random) -> None:
    """HPACK: indices that are none, integers without an end, one large entry a thousand times."""
    peer.greet()
    block = chance.choice(
        (
            b"\xff\xff\xff\xff\xff\x7f",
            b"\x80",
            b"\xbf" * 100,
            b"\x3f\xe1\xff\xff\xff\x7f",
            b"\x40\x01x\x7f\x81\x1e" + b"y" * 4000 + b"\xbe" * 10_000,
            b"\x00\x85\xff\xff\xff\xff\xff\x01a",
            chance.randbytes(200),
        )
    )
    peer.send(HeadersFrame(1, data=block, flags=["END_HEADERS", "END_STREAM"]))


# Attacks on one call: it is answered, with a status that is documented.


def no_text(peer: Peer, chance: random.Random) -> None:
    """Bytes that aren't UTF-8 where others have text."""
    peer.greet()
    name = chance.choice((":path", ":authority", "x-request-id", "authorization", "user-agent"))
    value = chance.choice((b"\x83", b"/tts.v1.TextToSpeech/\xff", chance.randbytes(50)))
    peer.call(1, request("GetServerInfo", **{name: value}), message(b""))


def odd_headers(peer: Peer, chance: random.Random) -> None:
    """A call whose headers are not gRPC's, or out of range."""
    peer.greet()
    name, value = chance.choice(
        (
            (":method", "GET"),
            (":path", "/"),
            (":path", "/tts.v1.TextToSpeech/Nothing"),
            (":path", "/tts.v1.TextToSpeech/../../etc/passwd"),
            (":path", "x" * 4000),
            ("content-type", "text/html"),
            ("content-type", "application/grpc+" + "j" * 50),
            ("te", "chunked"),
            ("grpc-timeout", "99999999999H"),
            ("grpc-timeout", "-5S"),
            ("grpc-timeout", "0n"),
            ("grpc-timeout", "abc"),
            ("grpc-encoding", "brotli"),
            ("grpc-encoding", "gzip"),
            ("grpc-accept-encoding", "," * 500),
            ("x-request-id", "\x7f\x80\xff"),
            ("x-request-id", "y" * 5000),
            ("authorization", "Bearer " + "z" * 3000),
            ("x-bin", "!!! not base64 !!!"),
            ("grpc-status-details-bin", "AAAA"),
            ("grpc-previous-rpc-attempts", "-1"),
        )
    )
    peer.call(1, request("GetServerInfo", **{name: value}), message(b""))
    peer.expect_answer()


def large_metadata(peer: Peer, chance: random.Random) -> None:
    """More of it than a server takes."""
    peer.greet()
    size = chance.choice((10_000, 40_000, 200_000))
    metadata = ((f"x-{number}", "v" * 1000) for number in range(size // 1000))
    block = peer.headers([*request("GetServerInfo"), *metadata])
    pieces = [block[start : start + 16_384] for start in range(0, len(block), 16_384)]
    for number, piece in enumerate(pieces):
        flags = ["END_HEADERS"] if number == len(pieces) - 1 else []
        kind = HeadersFrame if number == 0 else ContinuationFrame
        peer.send(kind(1, data=piece, flags=flags))
    peer.send(DataFrame(1, data=message(b""), flags=["END_STREAM"]))
    peer.expect_answer()


def odd_framing(peer: Peer, chance: random.Random) -> None:
    """Messages whose length or compression isn't what they say."""
    peer.greet()
    method = chance.choice(_METHODS)
    body = chance.choice(
        (
            message(_HELLO, length=len(_HELLO) + 5),
            message(_HELLO, length=2),
            message(_HELLO, length=2**32 - 1),
            message(_HELLO, length=5 << 20),
            message(_HELLO, compressed=1),
            message(_HELLO, compressed=chance.randrange(2, 256)),
            message(chance.randbytes(50), compressed=1),
            message(_HELLO)[: chance.randrange(5)],
            message(_HELLO) * 3,
            b"",
        )
    )
    encoding = chance.choice(({}, {"grpc-encoding": "gzip"}, {"grpc-encoding": "deflate"}))
    peer.call(1, request(method, **encoding), body)
    peer.expect_answer()


def bomb(peer: Peer, chance: random.Random) -> None:
    """A message that unfolds to a thousand times its size."""
    peer.greet()
    data = message(_bomb(), compressed=1)
    pieces = [data[start : start + 16_384] for start in range(0, len(data), 16_384)]
    peer.call(1, request(chance.choice(_METHODS), **{"grpc-encoding": "gzip"}), *pieces)
    peer.expect_answer()


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        garbage,
        tls_hello,
        half_a_preface,
        damaged_conversation,
        random_frames,
        oversized_frame,
        settings,
        settings_flood,
        ping_flood,
        rapid_reset,
        continuation_flood,
        unfinished_headers,
        windows,
        wrong_streams,
        odd_frames,
        header_tables,
        no_text,
        odd_headers,
        large_metadata,
        odd_framing,
        bomb,
    )
}


def _raw_frame(
    kind: int, flags: int, stream: int, body: bytes, *, length: int | None = None
) -> bytes:
    size = len(body) if length is None else length
    return struct.pack("!I", size)[1:] + struct.pack("!BBI", kind, flags, stream) + body


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(_BOMB_BYTES))
