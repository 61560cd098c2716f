"""Puts the length of finished audio into a header that was written before it was known."""

import struct
from typing import BinaryIO

# The service's WAV header, and the size of the data in it when nobody could tell (`tts.proto`).
_WAV_HEADER_BYTES = 44
_WAV_UNKNOWN_BYTES = 0x7FFFF000
_WAV_RIFF_REST_BYTES = _WAV_HEADER_BYTES - 8
_UINT32_MAX = 0xFFFFFFFF

# RFC 9639, 8.1 and 8.2: the marker, then STREAMINFO of 34 bytes; with or without others after it.
_FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
# Rate (20 bits), channels (3), bits a sample (5) and the number of samples (36; 0: unknown).
_FLAC_COUNT_OFFSET = 18
_FLAC_COUNT_BITS = 36


def complete_header(file: BinaryIO, sample_count: int) -> None:
    """Replaces the length in the header of `file`, if that says "unknown".

    Only what the service itself writes is touched: a WAV header of 44 bytes with its placeholder,
    and a FLAC header of 0 samples. Other bytes stay as they are, and so does a length that the
    format has no room for.

    file: open for reading and writing, seekable, complete.
    sample_count: of the audio in it.
    """
    file.seek(0)
    head = file.read(_WAV_HEADER_BYTES)
    if _is_unknown_wav(head):
        data_bytes = file.seek(0, 2) - _WAV_HEADER_BYTES
        if data_bytes + _WAV_RIFF_REST_BYTES <= _UINT32_MAX:
            _put(file, 4, struct.pack("<I", data_bytes + _WAV_RIFF_REST_BYTES))
            _put(file, 40, struct.pack("<I", data_bytes))
    elif head.startswith(_FLAC_STARTS) and len(head) >= _FLAC_COUNT_OFFSET + 8:
        (packed,) = struct.unpack_from(">Q", head, _FLAC_COUNT_OFFSET)
        unknown = packed % (1 << _FLAC_COUNT_BITS) == 0
        if unknown and sample_count < 1 << _FLAC_COUNT_BITS:
            _put(file, _FLAC_COUNT_OFFSET, struct.pack(">Q", packed | sample_count))


def _is_unknown_wav(head: bytes) -> bool:
    sizes = struct.pack("<I", _WAV_UNKNOWN_BYTES + _WAV_RIFF_REST_BYTES)
    return head[:16] == b"RIFF" + sizes + b"WAVEfmt " and head[36:] == b"data" + struct.pack(
        "<I", _WAV_UNKNOWN_BYTES
    )


def _put(file: BinaryIO, offset: int, data: bytes) -> None:
    file.seek(offset)
    file.write(data)
