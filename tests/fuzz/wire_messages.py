"""Protobuf messages as nobody should send them: honest ones with wounds, and made-up bytes.

The same `Random` wounds alike.
"""

import math
import random
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from protos.tts.v1 import tts_pb2

__all__ = ["REQUESTS", "UPLOAD_PARTS", "mutant", "upload"]

REQUESTS: dict[str, tuple[Message, ...]] = {
    "Synthesize": (
        tts_pb2.SynthesizeRequest(text="Hello there."),
        tts_pb2.SynthesizeRequest(
            text="Grüße, 世界!",
            voice="tone-low",
            language="de",
            format=tts_pb2.AudioFormat(
                encoding=tts_pb2.ENCODING_OGG_OPUS, sample_rate_hz=48_000, bitrate_bps=24_000
            ),
            prosody=tts_pb2.Prosody(speed=1.5),
        ),
        tts_pb2.SynthesizeRequest(
            text="Two at once",
            voice_mix=[
                tts_pb2.VoiceShare(voice="tone-low", weight=0.5),
                tts_pb2.VoiceShare(voice="tone-high", weight=0.5),
            ],
            cache=tts_pb2.CACHE_MODE_BYPASS,
        ),
        tts_pb2.SynthesizeRequest(
            text="Drawn", sampling=tts_pb2.Sampling(temperature=0.5, top_k=3, seed=7)
        ),
    ),
    "ListVoices": (
        tts_pb2.ListVoicesRequest(page_size=1, language="en", engine="tone"),
        tts_pb2.ListVoicesRequest(page_size=1000, page_token="dG9uZS1oaWdo"),
    ),
    "GetVoice": (tts_pb2.GetVoiceRequest(voice="tone-low"),),
    "DeleteVoice": (tts_pb2.DeleteVoiceRequest(voice="nobody"),),
    "GetServerInfo": (tts_pb2.GetServerInfoRequest(),),
}

_METADATA = tts_pb2.UploadVoiceRequest(
    metadata=tts_pb2.VoiceMetadata(
        display_name="Anna",
        language="en",
        voice_id="anna",
        consent=tts_pb2.Consent(person="Anna", statement="Yes.", attested_by="Bob"),
    )
)
_RECORDING = tts_pb2.UploadVoiceRequest(recording=tts_pb2.Recording(style="calm"))
_DATA = tts_pb2.UploadVoiceRequest(data=b"RIFF" + bytes(200))
UPLOAD_PARTS: tuple[Message, ...] = (_METADATA, _RECORDING, _DATA)

_BAD_UTF8 = (b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82")
_HUGE_VARINTS = (b"\xff" * 9 + b"\x01", b"\xff" * 9 + b"\x7f", b"\xff" * 11, b"\x80" * 20 + b"\x01")
_MOST_BYTES = 1 << 16
# Letters, marks, controls, a half of nothing, and what turns the line round.
_CHARACTERS = "aZ 0.,!?\t\n\r\0\x1b\x7f\u0301\u200d\u202e\ufeff\ufffd\U0001f600ßж世<>&\"'/\\"


def mutant(chance: random.Random, honest: tuple[Message, ...]) -> bytes:
    """One of the messages with odd values, with one to four wounds, or, rarely, random bytes."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(200))
    if chance.random() < 0.3:
        return _odd_values(chance, chance.choice(honest))
    data = chance.choice(honest).SerializeToString()
    for _ in range(chance.randint(1, 4)):
        data = chance.choice(_WOUNDS)(chance, data, honest)[:_MOST_BYTES]
    return data


def upload(chance: random.Random) -> list[bytes]:
    """Parts of an upload in any order and number, a third of them with wounds."""
    order = chance.choice(("", "mrd", "mmrd", "rmd", "drm", "mdr", "mrrd", "mrdm", "md", "random"))
    if order == "random":
        order = "".join(chance.choices("mrd", k=chance.randrange(8)))
    parts = dict(zip("mrd", UPLOAD_PARTS, strict=True))
    return [
        mutant(chance, (parts[letter],))
        if chance.random() < 0.33
        else parts[letter].SerializeToString()
        for letter in order
    ]


def _odd_values(chance: random.Random, honest: Message) -> bytes:
    """The message with another value in one or two of its fields: well-formed, and odd."""
    odd = type(honest)()
    odd.CopyFrom(honest)
    for _ in range(chance.randint(1, 2)):
        message = odd
        fields = message.DESCRIPTOR.fields
        while fields:
            field = chance.choice(fields)
            if field.is_repeated:
                message.ClearField(field.name)
                break
            if field.message_type is None:
                setattr(message, field.name, _odd_value(chance, field))
                break
            message = getattr(message, field.name)
            fields = message.DESCRIPTOR.fields
    return odd.SerializeToString()


def _odd_value(chance: random.Random, field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.randbytes(chance.choice((0, 1, 100)))
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return "".join(chance.choices(_CHARACTERS, k=chance.choice((0, 1, 5, 50))))
        case FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return chance.choice((0.0, -1.0, 0.5, 1e-30, 1e30, math.inf, -math.inf, math.nan))
        case FieldDescriptor.CPPTYPE_INT64:
            return chance.choice((0, 1, -1, 24_000, 2**63 - 1, -(2**63)))
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return chance.choice((0, 1, 24_000, 2**32 - 1))
        case _:  # int32, and enums, which may be any
            return chance.choice((0, 1, 2, -1, 24_000, 2**31 - 1, -(2**31)))


def _place(chance: random.Random, data: bytes) -> int:
    return chance.randrange(len(data) + 1)


def _flip(chance: random.Random, data: bytes, _: tuple[Message, ...]) -> bytes:
    if not data:
        return b"\x08"
    wounded, place = bytearray(data), chance.randrange(len(data))
    wounded[place] ^= 1 << chance.randrange(8)
    return bytes(wounded)


def _truncate(chance: random.Random, data: bytes, _: tuple[Message, ...]) -> bytes:
    return data[: _place(chance, data)]


def _double(chance: random.Random, data: bytes, _: tuple[Message, ...]) -> bytes:
    start, end = sorted((_place(chance, data), _place(chance, data)))
    return data[:end] + data[start:end] * chance.choice((1, 1, 2, 200)) + data[end:]


def _splice(chance: random.Random, data: bytes, honest: tuple[Message, ...]) -> bytes:
    every = (*honest, *UPLOAD_PARTS, *(m for group in REQUESTS.values() for m in group))
    other = chance.choice(every).SerializeToString()
    return data[: _place(chance, data)] + other[_place(chance, other) :]


def _insert(chance: random.Random, data: bytes, piece: bytes) -> bytes:
    place = _place(chance, data)
    return data[:place] + piece + data[place:]


def _huge_varint(chance: random.Random, data: bytes, _: tuple[Message, ...]) -> bytes:
    # As the value of some field, as the length of one, or anywhere.
    tag = bytes([chance.randrange(1, 16) << 3 | chance.choice((0, 2))])
    return _insert(chance, data, chance.choice((tag, b"")) + chance.choice(_HUGE_VARINTS))


def _nested(chance: random.Random, data: bytes, _: tuple[Message, ...]) -> bytes:
    depth = chance.choice((10, 99, 101, 1000, 20_000))
    tag = chance.randrange(1, 16) << 3
    if chance.random() < 0.5:
        return data + bytes([tag | 3]) * depth + bytes([tag | 4]) * chance.choice((0, depth))
    message = b""
    for _level in range(min(depth, 1000)):
        message = bytes([tag | 2]) + _varint(len(message)) + message
    return data + message


def _bad_text(chance: random.Random, data: bytes, _: tuple[Message, ...]) -> bytes:
    text = chance.choice(_BAD_UTF8) * chance.choice((1, 30))
    # Within the text that is there, or as a text of its own.
    tag = bytes([chance.randrange(1, 15) << 3 | 2])
    return _insert(chance, data, chance.choice((text, tag + _varint(len(text)) + text)))


def _wrong_wire_type(chance: random.Random, data: bytes, _: tuple[Message, ...]) -> bytes:
    if not data:
        return bytes([chance.randrange(256)])
    return bytes([data[0] & ~7 | chance.randrange(8)]) + data[1:]


def _noise(chance: random.Random, data: bytes, _: tuple[Message, ...]) -> bytes:
    return _insert(chance, data, chance.randbytes(chance.choice((1, 2, 8, 100))))


def _unknown_field(chance: random.Random, data: bytes, _: tuple[Message, ...]) -> bytes:
    number = chance.choice((0, 2, 3, 100, 19_000, (1 << 29) - 1, 1 << 29))
    return data + _varint(number << 3 | chance.randrange(6)) + chance.randbytes(chance.randrange(9))


_WOUNDS: tuple[Callable[[random.Random, bytes, tuple[Message, ...]], bytes], ...] = (
    _flip,
    _truncate,
    _double,
    _splice,
    _huge_varint,
    _nested,
    _bad_text,
    _wrong_wire_type,
    _noise,
    _unknown_field,
)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
